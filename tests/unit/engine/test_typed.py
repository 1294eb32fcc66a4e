"""Typed views are made once per object of the store."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from jil.api.jurisdiction import JILJurisdiction
from jil.api.objects import InvalidObject
from jil.engine.typed import Typed

RAW: dict[str, Any] = {
    "metadata": {"name": "main", "namespace": "jil-ch-finma", "resourceVersion": "7"},
    "spec": {"zone": "CH/FINMA", "network": "devnet", "release": "r1"},
}


def test_the_view_of_an_object_is_made_once() -> None:
    typed = Typed()
    assert typed(JILJurisdiction, RAW) is typed(JILJurisdiction, RAW)


def test_another_object_of_the_same_name_and_version_has_a_view_of_its_own() -> None:
    typed = Typed()
    typed(JILJurisdiction, RAW)
    other = copy.deepcopy(RAW)
    other["spec"]["release"] = "r2"
    assert typed(JILJurisdiction, other).spec.release == "r2"
    assert typed(JILJurisdiction, RAW).spec.release == "r1"


def test_what_cannot_be_read_is_refused_each_time() -> None:
    typed, broken = Typed(), {"metadata": RAW["metadata"], "spec": {}}
    for _ in range(2):
        with pytest.raises(InvalidObject):
            typed(JILJurisdiction, broken)


def test_no_more_views_are_kept_than_some_networks_need() -> None:
    typed = Typed()
    first = typed(JILJurisdiction, RAW)
    for number in range(600):
        typed(JILJurisdiction, {**RAW, "metadata": {**RAW["metadata"], "namespace": f"space-{number}"}})
    assert typed(JILJurisdiction, RAW) is not first
