"""A world with two places for operators, each behind a fault proxy and a user of its own, and scenes to hurt."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from testbed.controlplane import ControlPlane
from tests.faults.lives import Life, Lives
from tests.faults.proxy import Proxy, Script
from tests.faults.scene import TURNS, WAY, Place, Scene, Turn
from tests.history import tally
from tests.sim.world import SYSTEM, World
from tests.waiting import comes_true

LEASE = f"/apis/coordination.k8s.io/v1/namespaces/{SYSTEM}/leases/jil-operator"
#: Short terms: a paused leader's lease is waited for at every point.
SETTINGS = {
    "JIL_LEASE_DURATION": "5",
    "JIL_LEASE_RENEW_DEADLINE": "2.5",
    "JIL_LEASE_RETRY": "0.5",
    "JIL_SWEEP": "4",
    "JIL_SWEEP_GRACE": "0.5",
    "JIL_HTTP_PORT": "0",
    "JIL_HTTP_HOST": "127.0.0.1",
    "JIL_LOG_LEVEL": "info",
    "JIL_HEALTH_INTERVAL": "0.5",
}
#: Seconds without a step that count as rest, renewals of the leader's lease in them, and how soon it must begin.
CALM, RENEWALS, REST = 1.2, 2, 60.0
#: Seconds in which what is not there yet after a turn may still come.
SETTLE = 60.0


class FaultFound(AssertionError):
    """A fault had a consequence that it must not have."""


class Slot:
    """Where one operator lives at a time: its proxy, its user, its kubeconfig."""

    def __init__(self, rig: Rig, letter: str) -> None:
        self.user = f"operator-{letter}"
        self.proxy = Proxy(rig.plane, self.user)
        self.life: Life | None = None
        self._rig = rig
        self._lives = itertools.count(1)

    def open(self) -> None:
        self.proxy.__enter__()
        self.kubeconfig = self._rig.folder / f"{self.user}.kubeconfig"
        entry = {"cluster": {"server": self.proxy.url}, "name": "proxy"}
        context = {"context": {"cluster": "proxy", "user": "none"}, "name": "proxy"}
        document = {"clusters": [entry], "contexts": [context], "current-context": "proxy"}
        user = {"user": {"token": "the-proxy-knows"}, "name": "none"}
        self.kubeconfig.write_text(json.dumps({"apiVersion": "v1", "kind": "Config", "users": [user], **document}))

    @property
    def alive(self) -> bool:
        return self.life is not None and self.life.alive

    def begin(self, plant: str = "") -> None:
        """A new life; the one before must have ended."""
        assert not self.alive, f"{self.user} is alive"
        if self.life is not None:
            self.life.forget()
        number = next(self._lives)
        env = {
            **SETTINGS,
            **self._rig.settings,
            "JIL_KUBECONFIG": str(self.kubeconfig),
            "JIL_SYSTEM_NAMESPACE": SYSTEM,
            "JIL_POD_NAME": f"{self.user}-{number}",
            "JIL_HEALTH_URL": self._rig.world.health.url,
        }
        self.life = self._rig.lives.begin(self._rig.folder / f"{self.user}-{number}.log", env, plant)

    def kill(self) -> None:
        if self.life is not None:
            self.life.kill()

    def signal(self, number: signal.Signals) -> None:
        if self.life is not None:
            self.life.signal(number)


class Stillness:
    """Since when no step was taken. A machine that stands still takes none either, so the leader must be seen at work."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._begin()

    def _begin(self) -> None:
        self.steps, self._since, self._renewed = self._rig.steps, time.monotonic(), self._rig.renewals

    def lasts(self) -> bool:
        """Whether it lasts long enough to be called rest."""
        if self._rig.steps != self.steps:
            self._begin()
        return time.monotonic() - self._since >= CALM and self._rig.renewals - self._renewed >= RENEWALS


class Rig:
    """``with Rig(lives, folder) as rig``: a control plane of its own, a simulated world, room for two operators."""

    def __init__(self, lives: Lives, folder: Path, *, plant: str = "", **settings: str) -> None:
        """``plant``: a bug for every operator that is begun here. ``settings``: JIL_ variables beside the rig's."""
        self.lives = lives
        self.folder = folder
        self.plant = plant
        self.settings = settings
        self.patience = float(os.environ.get("JIL_FAULT_PATIENCE", "120"))
        self._numbers = itertools.count(1)
        self.scene: Scene | None = None
        self.turns_of_scene = 0
        self.tallies: dict[str, list[Counter[str]]] = {}
        self._calm_since = -1
        self._taken_away: set[str] = set()
        self._said: list[str] = []
        self.reference: dict[Place, dict[str, str]] = {}

    def __enter__(self) -> Rig:
        self.plane = ControlPlane()
        self.plane.start()
        self.world = World(self.plane, self.folder)
        self.world.__enter__()
        self.world.release("r1")
        self.a, self.b = Slot(self, "a"), Slot(self, "b")
        for slot in (self.a, self.b):
            slot.open()
        return self

    def __exit__(self, *_: object) -> None:
        for slot in (self.a, self.b):
            slot.kill()
            slot.proxy.__exit__()
        try:
            self.world.__exit__()
        except AssertionError:
            # The simulated chain saw a key used twice; said once, at the point that did it.
            if not self._said:
                raise
        finally:
            self.plane.stop()

    def chain_complains(self) -> list[str]:
        """What the simulated chain has seen of keys in two places and sign states gone back, and was not told yet."""
        found = [str(one) for one in self.world.validators.violations()]
        new = [one for one in found if one not in self._said]
        self._said += new
        return new

    @property
    def users(self) -> tuple[str, str]:
        """Who the operators are to the API server."""
        return self.a.user, self.b.user

    # -- operators ---------------------------------------------------------------------------------------------------
    def ensure(self, slot: Slot | None = None) -> None:
        """One operator works, with nothing in its way. A dead leader's lease is not waited for."""
        slot = slot or self.a
        slot.proxy.script = Script()
        if not slot.alive:
            self.expire_lease()
            slot.begin(self.plant)

    def expire_lease(self) -> None:
        """What time does to the lease of a process that is DEAD, at once. Of a paused one, it must run out by itself."""
        body = {"spec": {"holderIdentity": "", "leaseDurationSeconds": 1}}
        self.world.api.request("PATCH", LEASE, body, content_type="application/merge-patch+json")

    def holder(self) -> str:
        """The user whose process holds the lease, "" when nobody does."""
        spec = self.world.api.get(LEASE).get("spec") or {}
        return str(spec.get("holderIdentity") or "").rpartition("-")[0]

    @property
    def steps(self) -> int:
        """Writes of all operators so far that were steps of a reconcile."""
        return self.a.proxy.steps + self.b.proxy.steps

    @property
    def renewals(self) -> int:
        """Leases taken or renewed so far."""
        return self.a.proxy.renewals + self.b.proxy.renewals

    # -- scenes ------------------------------------------------------------------------------------------------------
    def fresh(self) -> Scene:
        """A new scene; the one before is taken away."""
        if self.scene is not None:
            self._taken_away.add(self.scene.namespace)
            self.scene.remove()
        self.turns_of_scene = 0
        self.scene = Scene(self.world, next(self._numbers), since=self.plane.audit_position())
        return self.scene

    def scene_at(self, place: Place) -> Scene:
        """The scene, at rest at ``place``, by turns that nothing disturbs."""
        if self.scene is None or (place is Place.NOTHING and self.scene.place is not Place.NOTHING):
            self.fresh()
        assert self.scene is not None
        self.ensure()
        if self.scene.place is not place:
            for turn in WAY[self.scene.place, place]:
                self.undisturbed(turn)
        if self._calm_since != self.steps or not self.holder():
            self.calm("before the fault")
        return self.scene

    def undisturbed(self, turn: Turn) -> int:
        """One turn without a fault; returns how many steps it took."""
        assert self.scene is not None
        before = self.steps
        turn.begin(self.scene)
        self.until(lambda: self.scene is not None and self.scene.at(turn.end), f"{turn.name} without a fault")
        self.scene.place = turn.end
        self.calm(f"after {turn.name}")
        if turn.end in self.reference:
            # Not judged here: what stays different is found where it is looked for.
            with contextlib.suppress(FaultFound):
                self.until(lambda: not self.differences(turn.end), "its usual end", min(SETTLE, self.patience))
        return self.steps - before

    def learn(self, runs: int = 2) -> dict[str, int]:
        """The reference: the shape at every place and the least number of steps of every turn, of undisturbed runs.

        Fields that differ between two runs say nothing and are left out of the comparison.
        """
        steps: dict[str, int] = {}
        for _ in range(runs):
            self.fresh()
            self.ensure()
            for turn in TURNS.values():
                begun, before = self.plane.audit_position(), self.steps
                self.undisturbed(turn)
                shape, taken = self._shape_at_rest(), self.steps - before
                self.tallies.setdefault(turn.name, []).append(tally(self.audit(begun), users=self.users))
                steps[turn.name] = min(taken, steps.get(turn.name, taken))
                known = self.reference.setdefault(turn.end, shape)
                self.reference[turn.end] = {path: value for path, value in known.items() if shape.get(path) == value}
        return steps

    def _shape_at_rest(self) -> dict[str, str]:
        """The scene's shape when it is the same at two moments of rest: everything else is measured by it."""
        assert self.scene is not None
        shape: dict[str, str] = {}
        for _ in range(20):
            before, shape = shape, self.scene.shape()
            if shape == before:
                return shape
            self.calm("to be learnt")
        raise FaultFound(f"the node changes and changes though nothing happens to it\n{self.words()}")

    def differences(self, place: Place) -> list[str]:
        """Where the scene's shape is not that of the reference at ``place``."""
        reference = self.reference.get(place)
        if reference is None or self.scene is None:
            raise AssertionError("the rig has learnt no reference: call learn() first")
        shape = self.scene.shape()
        found = [
            f"{path} is {shape.get(path, 'not there')}, without the fault {value}"
            for path, value in reference.items()
            if shape.get(path) != value
        ]
        strange = {path.partition(": ")[0] for path in shape} - {path.partition(": ")[0] for path in reference}
        return found + [f"{name} is there, and without the fault it is not" for name in sorted(strange)]

    # -- waiting -----------------------------------------------------------------------------------------------------
    def until(self, condition: Callable[[], object], what: str, seconds: float | None = None) -> None:
        """Poll; raises FaultFound with the operators' last words."""
        held, last = comes_true(condition, seconds or self.patience)
        if not held:
            raise FaultFound(f"waited {seconds or self.patience:.0f} s for {what}{last}\n{self.words()}")

    def calm(self, when: str) -> None:
        """Soon nothing is written any more. What is told of a node may still follow its last step by a moment."""
        deadline, still = time.monotonic() + min(REST, self.patience), Stillness(self)
        while not still.lasts():
            if time.monotonic() > deadline:
                raise FaultFound(f"{when}: the operator does not come to rest, last writes {self.recent()}")
            time.sleep(0.02)
        self._calm_since = still.steps

    def recent(self, count: int = 5) -> list[str]:
        """The last writes."""
        writes = [
            f"{slot.user} {method} {path.partition('?')[0]}"
            for slot in (self.a, self.b)
            for method, path in slot.proxy.requests[-400:]
            if method != "GET" and "/leases" not in path and "/events" not in path
        ]
        return writes[-count:]

    def words(self) -> str:
        """What the operators said last."""
        return "\n".join(f"--- {slot.user}\n{slot.life.words(2500)}" for slot in (self.a, self.b) if slot.life)

    def audit(self, since: int) -> list[dict[str, Any]]:
        """The audit log from a position on, without the end of scenes that were taken away: it takes its time, and what
        was granted for it may stand before that position."""
        entries = self.plane.audit_entries(since)
        return [one for one in entries if (one.get("objectRef") or {}).get("namespace") not in self._taken_away]
