"""I1 and AC-25: the permit to start a validator, over every combination of what can be known."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import pytest

from jil.api.record import PermitMode
from jil.plan.chain import Silence
from jil.plan.permit import (
    Guard,
    Hold,
    HoldReason,
    IssuedPermit,
    Permit,
    PodEnd,
    Predecessor,
    SigningRecord,
    SignVolume,
    StartingPod,
    decide_permit,
)

FRESH = SigningRecord(bootstrapped=False, highest_signed_height=0, permit=None, pvc_uid=None)
SIGNED = SigningRecord(
    bootstrapped=True,
    highest_signed_height=90,
    permit=IssuedPermit("old-pod", "machine-1", PermitMode.REQUIRE),
    pvc_uid="volume-1",
)
POD = StartingPod(name="ch-zug-01-validator-0", uid="new-pod", kube_node="machine-1", ending=False)
LOCAL = SignVolume("volume-1", only_on="machine-1")
MOVABLE = SignVolume("volume-1", only_on=None)
SILENT = Silence(sources=frozenset({"a", "b"}), blocks=10, advancing=True)
SILENT_ONCE = replace(SILENT, advancing=False)


def hold_reason(answer: object) -> HoldReason:
    assert isinstance(answer, Hold), answer
    assert answer.remedy
    return answer.reason


# -- the ordinary life of a node ---------------------------------------------------------------------------------------
def test_i1_the_first_start_ever_may_create_the_sign_state() -> None:
    assert decide_permit(FRESH, POD, LOCAL) == Permit(PermitMode.CREATE, 0)


def test_i1_a_restart_must_find_the_sign_state_at_the_height_it_had() -> None:
    answer = decide_permit(SIGNED, POD, MOVABLE, predecessor=Predecessor(PodEnd.TERMINATED))
    assert answer == Permit(PermitMode.REQUIRE, 90)


def test_i1_the_pod_that_has_the_permit_keeps_it() -> None:
    again = replace(POD, uid="old-pod")
    assert decide_permit(SIGNED, again, MOVABLE) == Permit(PermitMode.REQUIRE, 90, standing=True)
    assert decide_permit(SIGNED, replace(again, ending=True), None) == Permit(PermitMode.REQUIRE, 90, standing=True)


def test_i1_a_crash_between_record_and_annotation_issues_the_same_permit_again() -> None:
    first = decide_permit(FRESH, POD, LOCAL)
    assert isinstance(first, Permit)
    written = SigningRecord(True, 0, IssuedPermit(POD.uid, POD.kube_node, first.mode), LOCAL.pvc_uid)
    assert decide_permit(written, POD, LOCAL) == replace(first, standing=True)


@pytest.mark.parametrize(("guard", "height"), [(Guard.PASSED, 0), (Guard.PASSED, 7), (Guard.UNKNOWN, 7)])
def test_i1_a_permit_to_create_becomes_one_to_find_once_the_sign_state_was_made(guard: Guard, height: int) -> None:
    record = replace(
        SIGNED, highest_signed_height=height, permit=IssuedPermit("new-pod", "machine-1", PermitMode.CREATE)
    )
    answer = decide_permit(record, replace(POD, guard=guard), LOCAL)
    assert answer == Permit(PermitMode.REQUIRE, height, standing=False)


# -- holds -------------------------------------------------------------------------------------------------------------
def test_i1_a_new_volume_under_a_key_that_has_signed_is_sign_state_lost() -> None:
    answer = decide_permit(SIGNED, POD, SignVolume("volume-2", "machine-1"), predecessor=Predecessor(PodEnd.TERMINATED))
    assert hold_reason(answer) is HoldReason.SIGN_STATE_LOST
    assert isinstance(answer, Hold)
    assert "up to height 90" in answer.message


def test_ac_25_while_the_pod_before_is_there_the_next_one_waits_whatever_the_chain_says() -> None:
    for volume, silence in product((LOCAL, MOVABLE), (None, SILENT)):
        answer = decide_permit(SIGNED, POD, volume, predecessor=Predecessor(PodEnd.PRESENT), silence=silence)
        assert hold_reason(answer) is HoldReason.PREVIOUS_POD_PRESENT


def test_ac_25_a_pod_that_vanished_unseen_holds_the_next_one_back() -> None:
    for predecessor in (None, Predecessor(PodEnd.VANISHED)):
        answer = decide_permit(SIGNED, POD, MOVABLE, predecessor=predecessor)
        assert hold_reason(answer) is HoldReason.FENCING_UNCONFIRMED
        assert isinstance(answer, Hold)
        assert "machine-1" in answer.message


def test_ac_25_on_a_node_local_volume_the_lock_on_the_volume_is_the_fence() -> None:
    assert decide_permit(SIGNED, POD, LOCAL) == Permit(PermitMode.REQUIRE, 90)
    elsewhere = replace(POD, kube_node="machine-2")
    assert hold_reason(decide_permit(SIGNED, elsewhere, LOCAL)) is HoldReason.FENCING_UNCONFIRMED
    moved = replace(SIGNED, permit=IssuedPermit("old-pod", "machine-9", PermitMode.REQUIRE))
    assert hold_reason(decide_permit(moved, POD, LOCAL)) is HoldReason.FENCING_UNCONFIRMED


def test_ac_25_silence_on_an_advancing_chain_lets_it_start_with_a_look_for_its_own_signatures() -> None:
    assert decide_permit(SIGNED, POD, MOVABLE, silence=SILENT) == Permit(PermitMode.CHECK, 90)
    assert hold_reason(decide_permit(SIGNED, POD, MOVABLE, silence=SILENT_ONCE)) is HoldReason.FENCING_UNCONFIRMED


def test_i1_a_record_restored_without_its_permit_is_not_a_first_start() -> None:
    restored = replace(SIGNED, permit=None)
    for predecessor in (None, Predecessor(PodEnd.TERMINATED, Guard.NEVER_PASSED), Predecessor(PodEnd.VANISHED)):
        held = decide_permit(restored, POD, MOVABLE, predecessor=predecessor)
        assert hold_reason(held) is HoldReason.FENCING_UNCONFIRMED
        assert decide_permit(restored, POD, LOCAL, predecessor=predecessor) == Permit(PermitMode.REQUIRE, 90)


@pytest.mark.parametrize(
    ("record", "word"),
    [
        (replace(SIGNED, pvc_uid=None), "no volume is recorded"),
        (replace(SIGNED, bootstrapped=False), "a permit was given"),
        (replace(FRESH, highest_signed_height=5), "height 5 was signed"),
    ],
)
def test_i1_a_record_that_contradicts_itself_starts_nothing(record: SigningRecord, word: str) -> None:
    answer = decide_permit(record, POD, LOCAL, predecessor=Predecessor(PodEnd.TERMINATED), silence=SILENT)
    assert hold_reason(answer) is HoldReason.RECORD_INCONSISTENT
    assert isinstance(answer, Hold)
    assert word in answer.message


def test_i1_nothing_starts_without_its_volume_or_its_machine_or_at_its_end() -> None:
    for record in (FRESH, SIGNED):
        assert hold_reason(decide_permit(record, POD, None)) is HoldReason.VOLUME_MISSING
        assert hold_reason(decide_permit(record, replace(POD, kube_node=None), LOCAL)) is HoldReason.POD_NOT_SCHEDULED
        assert hold_reason(decide_permit(record, replace(POD, ending=True), LOCAL)) is HoldReason.POD_ENDING


# -- create, once ------------------------------------------------------------------------------------------------------
CREATED = replace(SIGNED, highest_signed_height=0, permit=IssuedPermit("old-pod", "machine-1", PermitMode.CREATE))


@pytest.mark.parametrize("end", list(PodEnd))
@pytest.mark.parametrize("guard", list(Guard))
@pytest.mark.parametrize("mode", list(PermitMode))
@pytest.mark.parametrize("height", [0, 1])
def test_i1_create_is_issued_again_only_when_the_first_one_was_provably_never_used(
    end: PodEnd, guard: Guard, mode: PermitMode, height: int
) -> None:
    record = replace(SIGNED, highest_signed_height=height, permit=IssuedPermit("old-pod", "machine-1", mode))
    answer = decide_permit(record, POD, LOCAL, predecessor=Predecessor(end, guard))
    provable = end is PodEnd.TERMINATED and guard is Guard.NEVER_PASSED and mode is PermitMode.CREATE and height == 0
    assert (isinstance(answer, Permit) and answer.mode is PermitMode.CREATE) is provable


def test_i1_an_unused_permit_to_create_is_not_moved_to_another_volume() -> None:
    answer = decide_permit(
        CREATED, POD, SignVolume("volume-2", None), predecessor=Predecessor(PodEnd.TERMINATED, Guard.NEVER_PASSED)
    )
    assert hold_reason(answer) is HoldReason.SIGN_STATE_LOST


# -- everything at once ------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class World:
    """One combination of everything that can be known."""

    record: SigningRecord
    pod: StartingPod
    volume: SignVolume | None
    predecessor: Predecessor | None
    silence: Silence | None


def worlds() -> list[World]:
    records = [
        SigningRecord(bootstrapped, height, permit, pvc)
        for bootstrapped in (False, True)
        for height in (0, 90)
        for permit in (
            None,
            *(
                IssuedPermit(uid, node, mode)
                for uid in ("old-pod", "new-pod")
                for node in (None, "machine-1", "machine-2")
                for mode in PermitMode
            ),
        )
        for pvc in (None, "volume-1", "volume-2")
    ]
    pods = [
        replace(POD, kube_node=node, ending=ending, guard=guard)
        for node in (None, "machine-1", "machine-2")
        for ending in (False, True)
        for guard in (Guard.PASSED, Guard.UNKNOWN)
    ]
    volumes = [None, LOCAL, MOVABLE]
    predecessors = [None, *(Predecessor(end, guard) for end in PodEnd for guard in (Guard.NEVER_PASSED, Guard.UNKNOWN))]
    silences = [None, SILENT, SILENT_ONCE]
    return [World(*combination) for combination in product(records, pods, volumes, predecessors, silences)]


def test_i1_ac_25_in_every_combination_a_permit_has_its_proof() -> None:
    permits = holds = 0
    for world in worlds():
        record, pod, volume, before = world.record, world.pod, world.volume, world.predecessor
        answer = decide_permit(record, pod, volume, predecessor=before, silence=world.silence)
        if isinstance(answer, Hold):
            holds += 1
            assert answer.message
            assert answer.remedy
            continue
        permits += 1
        own = record.permit is not None and record.permit.pod_uid == pod.uid
        if own:
            assert answer.mode in (record.permit.mode, PermitMode.REQUIRE), "never more than it had"
            continue
        assert not answer.standing
        assert not pod.ending
        assert pod.kube_node is not None
        assert volume is not None
        if answer.mode is PermitMode.CREATE:
            assert answer.min_height == 0
            assert record.highest_signed_height == 0
            assert not record.bootstrapped or (before is not None and before.guard is Guard.NEVER_PASSED)
        else:
            assert record.bootstrapped
            assert volume.pvc_uid == record.pvc_uid, "the sign state is on the volume that was recorded"
            assert answer.min_height == record.highest_signed_height, "the sign state never goes back"
        if record.bootstrapped:
            ended = record.permit is not None and before is not None and before.end is PodEnd.TERMINATED
            was_there = record.permit is None or record.permit.kube_node in (None, pod.kube_node)
            fenced = volume.only_on == pod.kube_node and was_there
            silent = world.silence is not None and world.silence.advancing
            assert ended or fenced or silent, "the process before is over, locked out or provably silent"
            assert before is None or before.end is not PodEnd.PRESENT
            if not ended and not fenced:
                assert answer.mode is PermitMode.CHECK
    assert permits > 1_000
    assert holds > 1_000
