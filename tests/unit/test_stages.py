"""``make test`` that is ended ends what it runs: a stage has a session of its own and hears neither Ctrl-C nor kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stages import ROOT
from tests.waiting import eventually

#: A stage that never ends and says its pid; run as ``main`` runs it. SIGINT is ignored in what a shell started in the
#: background; a person's terminal does not do that.
_RUN = """
import signal, sys
from tests import stages
signal.signal(signal.SIGINT, signal.default_int_handler)
sleeper = "import os, pathlib, time; pathlib.Path(sys.argv[1]).write_text(str(os.getpid())); time.sleep(600)"
stage = stages.Stage("sleeps", [sys.executable, "-c", "import sys; " + sleeper, sys.argv[1] + "/pid"], 500)
stages.stages = lambda: [stage]
sys.argv[1:] = []
sys.exit(stages.main())
"""


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_ended_leaves_no_stage_behind(tmp_path: Path, number: signal.Signals) -> None:
    pid_file = tmp_path / "pid"
    run = subprocess.Popen(
        [sys.executable, "-c", _RUN, str(tmp_path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        eventually(lambda: pid_file.exists() and pid_file.read_text(), "the stage to run", 30)
        stage = int(pid_file.read_text())
        run.send_signal(number)
        said, _ = run.communicate(timeout=90)
        assert run.returncode != 0
        assert "stage sleeps is ended" in said
        assert not _alive(stage)
    finally:
        if run.poll() is None:
            run.kill()
            run.wait()
