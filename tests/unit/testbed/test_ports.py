"""Ports for servers that start later: nobody else draws them meanwhile."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from testbed import ports
from testbed.errors import BedError

ROOT = Path(__file__).resolve().parents[3]


def _nobody_listens(first: int) -> bool:
    for port in range(first, first + 6):
        with socket.socket() as probe:
            try:
                probe.bind((ports.LOOPBACK, port))
            except OSError:
                return False
    return True


@pytest.fixture(autouse=True)
def first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> int:
    """The first of six ports, which are all there are; a cache of this test alone."""
    found = next(port for port in range(15000, 19990, 10) if _nobody_listens(port))
    monkeypatch.setenv("JIL_CACHE", str(tmp_path))
    monkeypatch.setattr(ports, "RANGE", range(found, found + 400))
    monkeypatch.setattr(ports.random, "sample", lambda among, count: list(among)[:6])
    return found


def test_a_port_is_drawn_once() -> None:
    assert not {*ports.free_ports(3)} & {*ports.free_ports(3)}
    with pytest.raises(BedError, match="no 1 free TCP ports"):
        ports.free_ports(1)


def test_what_another_process_has_drawn_is_free_again_when_it_has_ended(first: int) -> None:
    code = (
        f"import sys; from testbed import ports; ports.RANGE = range({first}, {first + 400});"
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
