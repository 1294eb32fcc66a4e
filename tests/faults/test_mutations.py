"""What users write: refused with a message that helps, or the node comes to rest under it, and finds its way back."""

from __future__ import annotations

import os
import time
from collections import Counter

import pytest

from tests.faults import mutate
from tests.faults.rig import FaultFound, Rig
from tests.faults.scene import Place

ALL = bool(os.environ.get("JIL_FAULTS"))
SEED = int(os.environ.get("SEED", "1"))
#: Specs per kind that the API server is asked about, and changes that a running node is taken through.
ASKED, WALKED = (2000, 150) if ALL else (40, 2)


@pytest.mark.parametrize("plural", ["jilnetworks", "jilreleases", "jiljurisdictions", "jilnodes"])
def test_every_strange_spec_is_taken_or_refused_with_a_message_that_names_the_field(rig: Rig, plural: str) -> None:
    scene = rig.scene_at(Place.READY)
    collection, good = mutate.samples(scene)[plural]
    assert mutate.ask(rig.world.api, collection, good) is None, "the object to begin with is good"
    answers: Counter[str] = Counter()
    wrong = []
    for mutation in mutate.drawn(plural, good["spec"], ASKED, SEED):
        refusal = mutate.ask(rig.world.api, collection, {**good, "spec": mutation.of(good["spec"])})
        answers["refused" if refusal else "taken"] += 1
        if refusal is not None and (fault := mutate.unreadable(mutation, refusal)):
            wrong.append(fault)
    print(f"{plural}: {dict(answers)}")
    assert not wrong, "\n".join(wrong)
    assert answers["refused"] >= 5, "too few of them were strange"
    assert answers["taken"] >= 2, "too few of them were good"


@pytest.mark.timeout(7200)
def test_a_node_comes_to_rest_under_every_spec_that_it_takes_and_goes_back_to_its_first(rig: Rig) -> None:
    scene = rig.scene_at(Place.READY)
    spec = scene.node()["spec"]  # type: ignore[index]
    ways: Counter[str] = Counter()
    found = []
    deadline = time.monotonic() + 60 * float(os.environ.get("JIL_FAULT_MINUTES", "20"))
    for mutation in mutate.drawn("jilnodes", spec, 10_000, SEED):
        if ways["and back"] + ways["one way"] >= WALKED or time.monotonic() > deadline:
            break
        try:
            ways[mutate.there_and_back(rig, mutation)] += 1
        except FaultFound as fault:
            found.append(str(fault))
    print(dict(ways))
    assert not found, "\n\n".join(found)
    assert ways["and back"] + ways["one way"] >= 2
