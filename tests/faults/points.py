"""One point: one fault at one place of one turn, from a scene at rest to the proof that nothing of it is left."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests import history
from tests.faults import injuries
from tests.faults.injuries import Injury, TwoLeaders
from tests.faults.proxy import Script
from tests.faults.rig import SETTLE, FaultFound, Rig, Stillness
from tests.faults.scene import TURNS, Place, Scene, Turn

#: Turns on one scene before another is made: its history is proven anew after each of them.
TURNS_PER_SCENE = 12


@dataclass(frozen=True)
class Family:
    """Faults of one kind. ``counts``: what its index counts."""

    make: Callable[[int], Injury]
    counts: str


FAMILIES: dict[str, Family] = {
    "crash": Family(injuries.Crash, "steps"),
    "two-leaders": Family(injuries.TwoLeaders, "steps"),
    "overtaken": Family(injuries.Overtaken, "steps"),
    "lost-reply": Family(injuries.Lost, "steps"),
    "lost-500": Family(lambda index: injuries.Lost(index, 500), "steps"),
    "lost-504": Family(lambda index: injuries.Lost(index, 504), "steps"),
    "answer-409": Family(lambda index: injuries.Status(index, 409), "requests"),
    "answer-410": Family(lambda index: injuries.Status(index, 410), "requests"),
    "answer-429": Family(lambda index: injuries.Status(index, 429), "requests"),
    "answer-500": Family(lambda index: injuries.Status(index, 500), "requests"),
    "answer-504": Family(lambda index: injuries.Status(index, 504), "requests"),
    "cut": Family(injuries.Cut, "requests"),
    "late": Family(injuries.Late, "requests"),
    "old-read": Family(injuries.OldRead, "requests"),
    "frozen": Family(injuries.Frozen, "steps"),
    "event-dropped": Family(injuries.Dropped, "events"),
    "event-delayed": Family(injuries.Delayed, "events"),
    "event-repeated": Family(injuries.Repeated, "events"),
    "event-swapped": Family(injuries.Swapped, "events"),
    "watch-ended": Family(injuries.Ended, "events"),
    "watch-410": Family(lambda index: injuries.Ended(index, 410), "events"),
}


#: Requests by what they are about: their place in a turn moves with every change of the order in which things are written.
ABOUT: dict[str, str] = {
    "service": r"PATCH .*/services/",
    "workload": r"PATCH .*/(statefulsets|deployments)/",
    "ledger": r"PUT .*/configmaps/ledger-",
    "let-go": r"PATCH .*/jilnodes/[^/]+$",
}


@dataclass(frozen=True)
class Point:
    """``family/turn/index``, e.g. ``crash/bring-up/17``; or the first request about something, ``crash/delete/let-go``."""

    family: str
    turn: str
    index: int
    about: str = ""

    def __str__(self) -> str:
        return f"{self.family}/{self.turn}/{self.about or self.index}"

    @classmethod
    def parse(cls, text: str) -> Point:
        """Raises ValueError for what is no point."""
        family, turn, index = (*text.split("/"), "", "")[:3]
        if family in FAMILIES and FAMILIES[family].counts != "events" and turn in TURNS and index in ABOUT:
            return cls(family, turn, 1, index)
        if family not in FAMILIES or turn not in TURNS or not index.isdigit() or int(index) < 1:
            raise ValueError(
                f"{text!r} is no point; write FAMILY/TURN/INDEX with one of {', '.join(FAMILIES)} and one of"
                f" {', '.join(TURNS)}, such as crash/bring-up/17; for INDEX also one of {', '.join(ABOUT)}"
            )
        return cls(family, turn, int(index))

    @property
    def again(self) -> str:
        """The command that runs this point alone."""
        return f".venv/bin/python -m tests.faults --point {self}"


@dataclass(frozen=True)
class Outcome:
    """``struck``: the place exists, the fault was put in. ``found``: what it led to and must not, "" when all is well."""

    point: Point
    struck: bool
    seconds: float
    found: str = ""


def run(rig: Rig, point: Point) -> Outcome:
    """Hurt, watch, prove. Whatever is found, the rig is fit for the next point afterwards."""
    begun = time.monotonic()
    injury = FAMILIES[point.family].make(point.index)
    injury.about = ABOUT.get(point.about, "")
    try:
        counted = FAMILIES[point.family].counts == "steps" and not point.about
        struck = _hurt(rig, TURNS[point.turn], injury, counted=counted)
    except FaultFound as found:
        _clear(rig)
        return Outcome(point, injury.struck, time.monotonic() - begun, str(found))
    return Outcome(point, struck, time.monotonic() - begun)


def _hurt(rig: Rig, turn: Turn, injury: Injury, *, counted: bool) -> bool:
    """Whether it struck. ``counted``: its index is that of a step, so a turn of as many steps must have been struck."""
    if rig.turns_of_scene >= TURNS_PER_SCENE and turn.start is not Place.NOTHING:
        rig.fresh()
    if not isinstance(injury, TwoLeaders):
        rig.b.kill()
    scene = rig.scene_at(turn.start)
    facts = scene.facts()
    begun, steps = rig.plane.audit_position(), rig.steps
    injury.arm(rig)
    turn.begin(scene)
    _watch(rig, scene, turn, injury)
    if not injury.struck:
        taken = rig.steps - steps
        # The turn has no such place: what comes after it, the removal of the scene for one, is not to be struck.
        rig.a.proxy.script = Script()
        if injury.struck:
            _watch(rig, scene, turn, injury)  # at the last moment
        elif counted and taken >= injury.index:
            raise FaultFound(f"{turn.name} took {taken} steps, and step {injury.index} of them was no kill point")
    scene.place = turn.end
    rig.turns_of_scene += 1
    rig.calm(f"after {turn.name}")
    if injury.struck:
        injury.settle(rig)
        rig.calm(f"after {turn.name} has settled")
    prove(rig, scene, turn, facts, begun, lawful=injury.lawful)
    return injury.struck


def _watch(rig: Rig, scene: Scene, turn: Turn, injury: Injury) -> None:
    """Until the turn has ended and the injury is tended, or will not strike any more."""
    still = Stillness(rig)

    def over() -> bool:
        tended, rests = injury.tend(rig), still.lasts()
        if not scene.at(turn.end):
            return False
        # The last step of a turn may come a moment after its end is told.
        return tended or (not injury.struck and rests)

    try:
        rig.until(over, f"{turn.name} to end")
    except FaultFound as found:
        name = type(injury).__name__
        raise FaultFound(f"{name} {'struck' if injury.struck else 'has not struck'}: {found}") from None


def prove(rig: Rig, scene: Scene, turn: Turn, facts: dict[str, str], begun: int, *, lawful: bool = True) -> None:
    """The end is that of an undisturbed run and so is what was made and removed on the way; nothing that must stay has
    changed, and the history is lawful. ``begun``: where the audit log stood when the turn began."""

    def wrong() -> list[str]:
        """What no time mends."""
        now = scene.facts()
        found = [
            f"{what}: was {value}, is {now.get(what, 'gone')}"
            for what, value in facts.items()
            if now.get(what) != value
        ]
        found += rig.chain_complains()
        return found + (history.prove(rig.audit(scene.since), users=rig.users).wrong if lawful else [])

    def unfinished() -> list[str]:
        return [*rig.differences(turn.end), *_steps_twice(rig, turn, begun)]

    if not lawful:
        rig.turns_of_scene = TURNS_PER_SCENE  # what the proxy did would be held against the next point
    found, left = wrong(), unfinished()
    if left and not found:
        # The node's word that it is there may come before the last step that a busy machine has not got to.
        with contextlib.suppress(FaultFound):
            rig.until(lambda: not unfinished(), "the end of an undisturbed run", min(rig.patience, SETTLE))
            rig.calm(f"after {turn.name} has ended")
        found, left = wrong(), unfinished()
    if left or found:
        raise FaultFound("\n".join([*[*left, *found][:25], rig.words()]))


def _steps_twice(rig: Rig, turn: Turn, begun: int) -> Iterator[str]:
    """What was created or deleted more often, or less, than in any undisturbed run."""
    clean, events = rig.tallies[turn.name], rig.audit(begun)
    counted, perhaps = history.tally(events, users=rig.users), history.unsure(events, users=rig.users)
    for what in sorted({*counted, *(what for one in clean for what in one)}):
        usual = {one[what] for one in clean}
        if not any(counted[what] <= times <= counted[what] + perhaps[what] for times in usual):
            yield f"{turn.name} did {counted[what]} x {what}, without the fault {' or '.join(map(str, sorted(usual)))}"


def _clear(rig: Rig) -> None:
    """A new scene and new operators: what went wrong must not go on into the next point."""
    rig.a.kill()
    rig.b.kill()
    rig.fresh()
