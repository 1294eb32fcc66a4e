"""Ports for servers that start later: nobody else draws them meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from testbed import ports
from testbed.errors import BedError

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Six ports in all, and a cache of this test alone."""
    monkeypatch.setenv("JIL_CACHE", str(tmp_path))
    monkeypatch.setattr(ports, "RANGE", range(19370, 19770))
    monkeypatch.setattr(ports.random, "sample", lambda among, count: list(among)[:6])


def test_a_port_is_drawn_once() -> None:
    assert not {*ports.free_ports(3)} & {*ports.free_ports(3)}
    with pytest.raises(BedError, match="no 1 free TCP ports"):
        ports.free_ports(1)


def test_what_another_process_has_drawn_is_free_again_when_it_has_ended() -> None:
    code = (
        "import sys; from testbed import ports; ports.RANGE = range(19370, 19770);"
        "ports.random.sample = lambda among, count: list(among)[:6];"
        "print(*ports.free_ports(6), flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(
        command, cwd=ROOT, env=dict(os.environ), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        drawn = [int(each) for each in other.stdout.readline().split()]
        assert len(drawn) == 6
        with pytest.raises(BedError):
            ports.free_ports(1)
        other.stdin.close()
        other.wait(timeout=30)
    assert sorted(ports.free_ports(6)) == sorted(drawn)
