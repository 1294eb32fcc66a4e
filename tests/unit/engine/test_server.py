"""/livez, /readyz and /metrics over a real socket; settings and the table of metrics."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from pydantic import ValidationError

from jil.engine.metrics import Metrics, answer
from jil.engine.queue import Key, WorkQueue
from jil.engine.server import HttpServer
from jil.engine.settings import Settings

DOCUMENT = Path(__file__).parents[3] / "docs" / "metrics.md"
ENGINE = Path(__file__).parents[3] / "docs" / "engine.md"


class Rig:
    def __init__(self) -> None:
        self.live: list[str] = []
        self.ready: list[str] = ["the store is not full yet"]
        self.metrics = Metrics()
        self.queue = WorkQueue(observer=self.metrics)
        self.metrics.show_queue(self.queue)
        self.metrics.show_store(lambda: [("Pod", 3)])
        self.metrics.show_trust(lambda: {"refused": 1})
        self.metrics.show_pull_logins(lambda: {"fresh": 1})
        self.server = HttpServer(
            host="127.0.0.1",
            port=0,
            live=lambda: self.live,
            ready=lambda: self.ready,
            registry=self.metrics.registry,
        )

    async def get(self, path: str) -> tuple[int, str]:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{self.server.port}{path}") as response,
        ):
            return response.status, await response.text()


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    made = Rig()
    await made.server.start()
    yield made
    await made.server.stop()


async def test_probes_say_what_is_wrong(rig: Rig) -> None:
    assert await rig.get("/livez") == (200, "ok")
    assert await rig.get("/readyz") == (503, "the store is not full yet")
    rig.live, rig.ready = ["watch is deaf"], []
    assert await rig.get("/livez") == (503, "watch is deaf")
    assert await rig.get("/readyz") == (200, "ok")


async def test_metrics_show_the_queue_and_the_store_as_they_are_now(rig: Rig) -> None:
    rig.queue.add(Key("JILNode", "x", "n"))
    rig.metrics.request("GET", 503, 0.1)
    _, text = await rig.get("/metrics")
    assert "jil_queue_depth 1.0" in text
    assert 'jil_store_objects{kind="Pod"} 3.0' in text
    assert 'jil_api_requests_total{answer="failed",method="GET"} 1.0' in text
    assert "_created" not in text


async def test_every_metric_stands_in_the_documentation_and_no_other(rig: Rig) -> None:
    _, text = await rig.get("/metrics")
    shown = set(re.findall(r"^# TYPE (\S+) ", text, re.MULTILINE))
    documented = set(re.findall(r"^\| `(jil_\w+)`", DOCUMENT.read_text(), re.MULTILINE))
    assert documented == shown


def test_every_setting_stands_in_the_documentation_and_no_other() -> None:
    documented = set(re.findall(r"^\| `JIL_(\w+)`", ENGINE.read_text(), re.MULTILINE))
    assert documented == {name.upper() for name in Settings.model_fields}


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (0, "none"),
        (200, "ok"),
        (204, "ok"),
        (404, "not_found"),
        (409, "conflict"),
        (429, "throttled"),
        (403, "refused"),
        (500, "failed"),
    ],
)
def test_answers_are_a_closed_set(status: int, expected: str) -> None:
    assert answer(status) == expected


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JIL_SYSTEM_NAMESPACE", "elsewhere")
    monkeypatch.setenv("JIL_POD_NAME", "jil-operator-abc")
    monkeypatch.setenv("JIL_WORKERS", "3")
    settings = Settings()
    assert (settings.system_namespace, settings.workers) == ("elsewhere", 3)
    assert settings.identity().startswith("jil-operator-abc_")
    assert settings.identity() != settings.identity(), "a restarted process is another candidate"


@pytest.mark.parametrize(
    ("name", "value"),
    [("JIL_LOG_LEVEL", "loud"), ("JIL_WORKERS", "0"), ("JIL_LEASE_DURATION", "5"), ("JIL_HTTP_PORT", "70000")],
)
def test_settings_that_cannot_work_are_refused_at_the_start(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError):
        Settings()
