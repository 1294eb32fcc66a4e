"""How jilctl reaches registries: the environment in the operator's own form, and what the command line adds to it."""

from __future__ import annotations

import pytest

from jil.cli.exits import Exit, Stop
from jil.cli.registries import ENDPOINTS, Wishes, access

IMAGE = f"r.example:5000/jil/cache@sha256:{'a' * 64}"


@pytest.fixture(autouse=True)
def _no_docker_login(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", "/none")


def test_the_environment_says_where_registries_are_as_the_operators_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENDPOINTS, '{"r.example:5000": "https://127.0.0.1:41000", "other.example": "http://10.0.0.1"}')
    found = access(Wishes(), (IMAGE,))
    assert found.base_url("r.example:5000") == "https://127.0.0.1:41000"
    assert found.base_url("other.example") == "http://10.0.0.1"


def test_the_command_line_is_nearer_than_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENDPOINTS, '{"r.example:5000": "https://127.0.0.1:41000"}')
    assert (
        access(Wishes(plain_http=("r.example:5000",)), (IMAGE,)).base_url("r.example:5000") == "http://r.example:5000"
    )
    there = Wishes(endpoints=("r.example:5000=https://127.0.0.1:42000",))
    assert access(there, (IMAGE,)).base_url("r.example:5000") == "https://127.0.0.1:42000"


@pytest.mark.parametrize("text", ["r.example=https://x", "[]", '{"r.example": 5}', '{"r.example": "127.0.0.1:5000"}'])
def test_another_form_is_refused_with_an_example(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(ENDPOINTS, text)
    with pytest.raises(Stop, match=r"JIL_REGISTRY_ENDPOINTS=.*wanted is JSON such as") as stop:
        access(Wishes(), (IMAGE,))
    assert stop.value.code is Exit.USAGE
