"""May this validator pod start, and what may it do about its sign state? (I1, AC-25)

Two processes with one key that are both alive sign two blocks at one height; a process whose sign state went back
signs one height twice. So a new pod gets its permit only when the process before it is certainly gone, and only for the
volume that has the sign state. Where that is not certain the answer is Hold: a validator that waits costs a little
power, one that signs twice is punished by the whole network, for ever.

``create`` is *used* at most once in the life of a node. It is issued a second time only when the pod that had it was
seen to have ended without its start guard ever getting through, on the same volume: then nothing was signed with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from jil.api.record import PermitMode
from jil.plan.chain import Silence


class PodEnd(StrEnum):
    """Whether the process in a pod is known to be over."""

    PRESENT = "Present"
    """Its object is there and its containers have not all ended (Terminating included)."""

    TERMINATED = "Terminated"
    """Its kubelet reported every container as terminated. A phase Failed that PodGC wrote is no such report."""

    VANISHED = "Vanished"
    """Its object is gone and nobody saw it end: PodGC, Node deleted, out-of-service taint, operator away."""


class Guard(StrEnum):
    """How far the start guard (the init container) of a pod got."""

    PASSED = "Passed"
    NEVER_PASSED = "NeverPassed"
    """Seen at its end, or now, without ever having ended with exit code 0: the validator never ran in that pod."""

    UNKNOWN = "Unknown"


class HoldReason(StrEnum):
    """Why a validator pod may not start."""

    POD_ENDING = "PodEnding"
    POD_NOT_SCHEDULED = "PodNotScheduled"
    RECORD_INCONSISTENT = "RecordInconsistent"
    VOLUME_MISSING = "VolumeMissing"
    SIGN_STATE_LOST = "SignStateLost"
    PREVIOUS_POD_PRESENT = "PreviousPodPresent"
    FENCING_UNCONFIRMED = "FencingUnconfirmed"


@dataclass(frozen=True, slots=True)
class IssuedPermit:
    """The last permit in the record. ``kube_node``: machine of that pod, None when it was not known."""

    pod_uid: str
    kube_node: str | None
    mode: PermitMode


@dataclass(frozen=True, slots=True)
class SigningRecord:
    """What the JILNodeRecord says. ``pvc_uid``: recorded volume of the sign state, None when none is recorded."""

    bootstrapped: bool
    highest_signed_height: int
    permit: IssuedPermit | None
    pvc_uid: str | None


@dataclass(frozen=True, slots=True)
class StartingPod:
    """The pod that asks, read live. ``ending``: a deletion was asked for, or its phase is Succeeded or Failed."""

    name: str
    uid: str
    kube_node: str | None
    ending: bool
    guard: Guard = Guard.UNKNOWN


@dataclass(frozen=True, slots=True)
class Predecessor:
    """What was seen of the pod that had the last permit, when that is not the one that asks."""

    end: PodEnd
    guard: Guard = Guard.UNKNOWN


@dataclass(frozen=True, slots=True)
class SignVolume:
    """The PersistentVolumeClaim that the pod mounts, read live.

    ``only_on``: the one Kubernetes node that the bound PersistentVolume's nodeAffinity admits, None for a volume that
    can be attached elsewhere. On a node-local volume the validator's exclusive lock is a fence: whoever starts on this
    volume starts on the machine where the lock is held.
    """

    pvc_uid: str
    only_on: str | None


@dataclass(frozen=True, slots=True)
class Permit:
    """Start. ``min_height``: a sign state below it is refused by the guard. ``standing``: this pod had its permit
    already, and an annotation with the same mode needs no second write."""

    mode: PermitMode
    min_height: int
    standing: bool = False


@dataclass(frozen=True, slots=True)
class Hold:
    """Do not start. ``remedy`` says what ends the hold, by itself or by a person."""

    reason: HoldReason
    message: str
    remedy: str


def decide_permit(
    record: SigningRecord,
    pod: StartingPod,
    volume: SignVolume | None,
    *,
    predecessor: Predecessor | None = None,
    silence: Silence | None = None,
) -> Permit | Hold:
    """Whether ``pod`` may start its validator, and how.

    ``predecessor``: the pod of ``record.permit`` when that is another one; None is taken for vanished.
    ``silence``: proof from an advancing chain that nobody signs with the key (``chain.silence``).
    The caller writes bootstrapped, the volume and the permit into the record in ONE compare-and-swap *before* the pod
    sees the permit: a crash in between issues the same answer again.
    """
    last = record.permit
    if last is not None and last.pod_uid == pod.uid:
        return _standing(record, last, pod)
    if pod.ending:
        return Hold(HoldReason.POD_ENDING, f"pod {pod.name} is ending", "its successor is looked at")
    if pod.kube_node is None:
        return Hold(HoldReason.POD_NOT_SCHEDULED, f"pod {pod.name} has no node yet", "the scheduler places the pod")
    broken = _inconsistency(record)
    if broken is not None:
        return Hold(
            HoldReason.RECORD_INCONSISTENT,
            f"the JILNodeRecord contradicts itself: {broken}",
            "restore the record from a backup; do not edit it by hand, a wrong value can sign a height twice",
        )
    if volume is None:
        return Hold(
            HoldReason.VOLUME_MISSING,
            f"the PersistentVolumeClaim of pod {pod.name} does not exist",
            "it is made by the operator; if it was lost, restore it with its PersistentVolume",
        )
    if not record.bootstrapped:
        return Permit(PermitMode.CREATE, 0)
    if volume.pvc_uid != record.pvc_uid:
        return Hold(
            HoldReason.SIGN_STATE_LOST,
            f"this validator has signed before (up to height {record.highest_signed_height} at least), with volume "
            f"{record.pvc_uid}; pod {pod.name} has volume {volume.pvc_uid}",
            "bind the kept PersistentVolume again; a validator never starts with an empty sign state",
        )
    # A record without a permit was restored or rebuilt: somebody may have started since, unseen.
    before = predecessor or Predecessor(PodEnd.VANISHED)
    if record.permit is None and before.end is PodEnd.TERMINATED:
        before = Predecessor(PodEnd.VANISHED)
    return _after(record, pod, volume, before, silence)


def _standing(record: SigningRecord, last: IssuedPermit, pod: StartingPod) -> Permit:
    # Init containers run again in the same pod after its machine was restarted. Once the sign state was made, a permit
    # to make one would turn a lost disk into an empty sign state.
    created = pod.guard is Guard.PASSED or record.highest_signed_height > 0
    mode = PermitMode.REQUIRE if last.mode is PermitMode.CREATE and created else last.mode
    return Permit(mode, 0 if mode is PermitMode.CREATE else record.highest_signed_height, standing=mode is last.mode)


def _inconsistency(record: SigningRecord) -> str | None:
    if record.bootstrapped and record.pvc_uid is None:
        return "bootstrapped, but no volume is recorded"
    if not record.bootstrapped and record.permit is not None:
        return "a permit was given, but it is not bootstrapped"
    if not record.bootstrapped and record.highest_signed_height > 0:
        return f"height {record.highest_signed_height} was signed, but it is not bootstrapped"
    return None


def _after(
    record: SigningRecord, pod: StartingPod, volume: SignVolume, before: Predecessor, silence: Silence | None
) -> Permit | Hold:
    """A bootstrapped node on its own volume: everything hangs on the process before this one."""
    last = record.permit
    require = Permit(PermitMode.REQUIRE, record.highest_signed_height)
    if before.end is PodEnd.PRESENT:
        return Hold(
            HoldReason.PREVIOUS_POD_PRESENT,
            f"the validator's pod before {pod.name} is still there",
            "it ends by itself; never force-delete it, that hides whether its process still signs",
        )
    if before.end is PodEnd.TERMINATED:
        never_used = before.guard is Guard.NEVER_PASSED and record.highest_signed_height == 0
        if last is not None and last.mode is PermitMode.CREATE and never_used:
            return Permit(PermitMode.CREATE, 0)
        return require
    if volume.only_on is not None and pod.kube_node == volume.only_on and _was_there(last, volume.only_on):
        return require
    if silence is not None and silence.advancing:
        return Permit(PermitMode.CHECK, record.highest_signed_height)
    return Hold(
        HoldReason.FENCING_UNCONFIRMED,
        f"the validator's pod before {pod.name}, UID {(last and last.pod_uid) or 'unknown'}, vanished and nobody saw its "
        f"process end; it may still sign on {(last and last.kube_node) or 'an unknown machine'}",
        "bring that machine back so that its kubelet reports; or, once it is certainly off or wiped, confirm it with a "
        "JILOperation ConfirmFencing that names this UID as podUID",
    )


def _was_there(last: IssuedPermit | None, kube_node: str) -> bool:
    """Whether whoever signed on this volume can only have run on ``kube_node``; a record of another one contradicts."""
    return last is None or last.kube_node in (None, kube_node)
