"""The harness's own test: bugs that are planted into the operator are found, each by what is there to find it."""

from __future__ import annotations

import os
import re

import pytest

from tests.faults import points
from tests.faults.plants import PLANTS
from tests.faults.points import Point
from tests.faults.rig import FaultFound, Rig
from tests.faults.trials import TRIALS

#: The gate plants these; `make faults` all of them.
GATE = ("skipped-grant", "lost-record-write")
#: Seconds for what a planted bug keeps from ever happening.
PATIENCE = float(os.environ.get("JIL_FAULT_PATIENCE", "30"))


def _run(rig: Rig, what: str) -> str:
    """What was found, "" when nothing was."""
    if what in TRIALS:
        try:
            TRIALS[what](rig)
        except FaultFound as found:
            return str(found)
        return ""
    return points.run(rig, Point.parse(what)).found


@pytest.mark.parametrize("name", PLANTS if os.environ.get("JIL_FAULTS") else GATE)
def test_a_planted_bug_is_found(rig: Rig, name: str) -> None:
    plant = PLANTS[name]
    rig.a.kill()
    rig.b.kill()
    rig.fresh()
    rig.plant, patience = name, rig.patience
    rig.patience = PATIENCE
    told = []
    try:
        for what in plant.noticed_by:
            told.append(_run(rig, what))
            if re.search(plant.because, told[-1]):
                break
    finally:
        rig.plant, rig.patience = "", patience
        rig.a.kill()
        rig.b.kill()
        rig.fresh()
    line = next((line for text in told for line in text.splitlines() if re.search(plant.because, line)), "")
    assert line, f"nobody noticed that {plant.what}; {plant.noticed_by} said:\n" + "\n".join(t[:1500] for t in told)
    print(f"{name}: {line[:300]}")
