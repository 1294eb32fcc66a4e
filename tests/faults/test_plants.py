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
GATE = ("skipped-grant", "key-regenerated", "lost-record-write")


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
    rig.patience = 20.0
    try:
        found = next((text for what in plant.noticed_by if re.search(plant.because, text := _run(rig, what))), "")
    finally:
        rig.plant, rig.patience = "", patience
        rig.a.kill()
        rig.b.kill()
        rig.fresh()
    assert found, f"nobody noticed that {plant.what}; tried {', '.join(plant.noticed_by)}"
    print(f"{name}: {next(line for line in found.splitlines() if re.search(plant.because, line))[:300]}")
