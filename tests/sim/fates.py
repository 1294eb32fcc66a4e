"""What may happen to a simulated pod, and the statuses that a real kubelet and scheduler (v1.36) would write for it.

Pure: ``report`` is a function of the pod, its fate, what happened to it before, and the time. Back-offs are shorter than
a kubelet's ten seconds, so that a test sees several rounds; everything else has the real shape, word for word.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

Object = dict[str, Any]


@dataclass(frozen=True)
class Ready:
    """A good life."""


@dataclass(frozen=True)
class CrashLoop:
    """The main container ends again and again; ``reason`` as the runtime names it (Error, OOMKilled)."""

    exit_code: int = 1
    reason: str = "Error"
    run_s: float = 0.3
    back_off_s: float = 1.5


@dataclass(frozen=True)
class ImagePullFailure:
    """The image does not come: ErrImagePull, then ImagePullBackOff, and again."""

    why: str = "not found"
    attempt_s: float = 0.5
    back_off_s: float = 1.5


@dataclass(frozen=True)
class InitFailure:
    """The first init container ends with an error again and again; the pod never gets to its main container."""

    exit_code: int = 1
    run_s: float = 0.3
    back_off_s: float = 1.5


@dataclass(frozen=True)
class Unschedulable:
    """No machine takes the pod: the scheduler says so in the condition PodScheduled, and no kubelet says anything."""

    message: str = (
        "0/1 nodes are available: 1 Insufficient memory. preemption: 0/1 nodes are available: 1 No preemption victims "
        "found for incoming pod."
    )


@dataclass(frozen=True)
class SlowStart:
    """The process runs, and its startup probe passes only after ``seconds``."""

    seconds: float


@dataclass(frozen=True)
class VolumeStuck:
    """A volume cannot be mounted: the status says ContainerCreating and nothing else, an Event says why."""

    message: str = (
        'MountVolume.SetUp failed for volume "data" : rpc error: code = Internal desc = device /dev/sdb is busy'
    )


Fate = Ready | CrashLoop | ImagePullFailure | InitFailure | Unschedulable | SlowStart | VolumeStuck


@dataclass
class Life:
    """What a kubelet remembers of one pod. ``since``: when its fate last changed; ``began``: when it took the pod."""

    began: datetime
    since: datetime
    inits_passed: bool = False
    restarts: dict[str, int] = field(default_factory=dict)
    ended: dict[str, Object] = field(default_factory=dict)
    conditions: dict[str, Object] = field(default_factory=dict)
    base_restarts: dict[str, int] = field(default_factory=dict)

    def turn(self, now: datetime) -> None:
        """Another fate begins; restarts so far are kept."""
        self.since = now
        self.base_restarts = dict(self.restarts)


@dataclass(frozen=True)
class Note:
    """A Warning Event of the kubelet or the scheduler."""

    reason: str
    message: str
    component: str = "kubelet"


@dataclass(frozen=True)
class Report:
    """The status to write, what else happened, and when the picture changes by itself (seconds, None: never).

    ``running``: names of the containers whose processes run.
    """

    status: Object
    again_in: float | None = None
    notes: tuple[Note, ...] = ()
    running: frozenset[str] = frozenset()


def stamp(moment: datetime) -> str:
    """metav1.Time."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def report(
    pod: Object, fate: Fate, life: Life, now: datetime, *, may_pass: bool = True, host_ip: str = "", pod_ip: str = ""
) -> Report:
    """The pod's status now. ``may_pass``: its start guard (an init container named ``guard``), if any, lets it through."""
    if isinstance(fate, Unschedulable) and not pod["spec"].get("nodeName"):
        return _unschedulable(fate, life, now)
    elapsed = (now - life.since).total_seconds()
    inits, mains = pod["spec"].get("initContainers", []), pod["spec"]["containers"]
    frame = _Frame(pod, life, now, host_ip, pod_ip)
    first = "PodInitializing" if inits else "ContainerCreating"
    if isinstance(fate, VolumeStuck):
        waiting = {"waiting": {"reason": first}}
        note = Note("FailedMount", fate.message)
        return frame.report([waiting] * len(inits), [waiting] * len(mains), sandbox=False, notes=(note,))
    if isinstance(fate, InitFailure) and inits and not life.inits_passed:
        state, again = _looping(life, inits[0]["name"], fate.exit_code, "Error", fate, elapsed, now, pod)
        rest = {"waiting": {"reason": "PodInitializing"}}
        notes = (_back_off(inits[0]["name"], pod),) if "waiting" in state else ()
        return frame.report([state, *[rest] * (len(inits) - 1)], [rest] * len(mains), again=again, notes=notes)
    if isinstance(fate, ImagePullFailure) and not _has_run(life, mains):
        return _no_image(fate, frame, inits, mains, elapsed, pod)
    if inits and not life.inits_passed:
        if any(c["name"] == "guard" for c in inits) and not may_pass:
            running: Object = {"running": {"startedAt": stamp(life.began)}}
            return frame.report([running] * len(inits), [{"waiting": {"reason": "PodInitializing"}}] * len(mains))
        life.inits_passed = True
    done = [_terminated(0, "Completed", life.began, now) for _ in inits]
    if isinstance(fate, CrashLoop):
        name = mains[0]["name"]
        state, again = _looping(life, name, fate.exit_code, fate.reason, fate, elapsed, now, pod)
        others = [{"running": {"startedAt": stamp(life.began)}}] * (len(mains) - 1)
        notes = (_back_off(name, pod),) if "waiting" in state else ()
        return frame.report(done, [state, *others], again=again, ready_others=True, notes=notes)
    up: Object = {"running": {"startedAt": stamp(life.since)}}
    if isinstance(fate, SlowStart) and elapsed < fate.seconds:
        note = Note("Unhealthy", "Startup probe failed: dial tcp: connect: connection refused")
        return frame.report(done, [up] * len(mains), again=fate.seconds - elapsed, notes=(note,))
    return frame.report(done, [up] * len(mains), ready=True)


def ended(pod: Object, life: Life, now: datetime) -> Object:
    """The last status of a pod that was deleted: every container has ended well."""
    inits, mains = pod["spec"].get("initContainers", []), pod["spec"]["containers"]
    frame = _Frame(pod, life, now, "", "")
    done = _terminated(0, "Completed", life.began, now)
    status = frame.report([done] * len(inits), [done] * len(mains)).status
    return {**status, "phase": "Succeeded"}


def _has_run(life: Life, mains: list[Object]) -> bool:
    return any(life.restarts.get(c["name"], 0) for c in mains)


def _terminated(code: int, reason: str, began: datetime, ended_at: datetime) -> Object:
    return {
        "terminated": {
            "exitCode": code,
            "reason": reason,
            "startedAt": stamp(began),
            "finishedAt": stamp(ended_at),
            "containerID": "containerd://simulated",
        }
    }


def _looping(
    life: Life,
    name: str,
    code: int,
    reason: str,
    fate: CrashLoop | InitFailure,
    elapsed: float,
    now: datetime,
    pod: Object,
) -> tuple[Object, float]:
    """(state now, seconds until it changes) of a container that runs, ends, is backed off, and runs again."""
    cycle = fate.run_s + fate.back_off_s
    rounds, within = divmod(elapsed, cycle)
    finished = int(rounds) + (within >= fate.run_s)
    # A kubelet counts a restart when the container is started again, not when it ends.
    life.restarts[name] = life.base_restarts.get(name, 0) + int(rounds)
    if finished:
        last_end = life.since + timedelta(seconds=(finished - 1) * cycle + fate.run_s)
        life.ended[name] = _terminated(code, reason, last_end - timedelta(seconds=fate.run_s), last_end)
    if within < fate.run_s:
        return {"running": {"startedAt": stamp(now)}}, fate.run_s - within + 0.01
    meta = pod["metadata"]
    where = f"{meta['name']}_{meta['namespace']}({meta['uid']})"
    seconds = min(300, 10 * 2 ** (finished - 1))
    message = f"back-off {seconds}s restarting failed container={name} pod={where}"
    return {"waiting": {"reason": "CrashLoopBackOff", "message": message}}, cycle - within + 0.01


def _back_off(name: str, pod: Object) -> Note:
    meta = pod["metadata"]
    where = f"{meta['name']}_{meta['namespace']}({meta['uid']})"
    return Note("BackOff", f"Back-off restarting failed container {name} in pod {where}")


def _no_image(
    fate: ImagePullFailure, frame: _Frame, inits: list[Object], mains: list[Object], elapsed: float, pod: Object
) -> Report:
    cycle = fate.attempt_s + fate.back_off_s
    within = elapsed % cycle
    victim = (inits or mains)[0]
    image = victim["image"]
    cause = f'failed to pull and unpack image "{image}": failed to resolve reference "{image}": {image}: {fate.why}'
    if within < fate.attempt_s:
        waiting: Object = {"waiting": {"reason": "ErrImagePull", "message": cause}}
        again = fate.attempt_s - within + 0.01
    else:
        message = f'Back-off pulling image "{image}": ErrImagePull: {cause}'
        waiting = {"waiting": {"reason": "ImagePullBackOff", "message": message}}
        again = cycle - within + 0.01
    rest: Object = {"waiting": {"reason": "PodInitializing"}}
    notes = (Note("Failed", f'Failed to pull image "{image}": {cause}'),)
    if inits:
        return frame.report([waiting, *[rest] * (len(inits) - 1)], [rest] * len(mains), again=again, notes=notes)
    creating = {"waiting": {"reason": "ContainerCreating"}}
    return frame.report([], [waiting, *[creating] * (len(mains) - 1)], again=again, notes=notes)


def _unschedulable(fate: Unschedulable, life: Life, now: datetime) -> Report:
    condition = _condition(life, now, "PodScheduled", False, "Unschedulable", fate.message)
    return Report(
        {"phase": "Pending", "conditions": [condition]},
        notes=(Note("FailedScheduling", fate.message, "default-scheduler"),),
    )


def _condition(life: Life, now: datetime, type_: str, value: bool, reason: str = "", message: str = "") -> Object:
    status = "True" if value else "False"
    before = life.conditions.get(type_)
    moved = before["lastTransitionTime"] if before and before["status"] == status else stamp(now)
    made: Object = {"type": type_, "status": status, "lastProbeTime": None, "lastTransitionTime": moved}
    if reason:
        made |= {"reason": reason, "message": message}
    life.conditions[type_] = made
    return made


@dataclass(frozen=True)
class _Frame:
    """Puts container states into a whole pod status."""

    pod: Object
    life: Life
    now: datetime
    host_ip: str
    pod_ip: str

    def report(
        self,
        inits: list[Object],
        mains: list[Object],
        *,
        sandbox: bool = True,
        ready: bool = False,
        ready_others: bool = False,
        again: float | None = None,
        notes: tuple[Note, ...] = (),
    ) -> Report:
        spec = self.pod["spec"]
        passed = [s.get("terminated", {}).get("exitCode") == 0 for s in inits]
        well = [ready or (ready_others and i > 0 and "running" in s) for i, s in enumerate(mains)]
        statuses = [self._container(c, s, w) for c, s, w in zip(spec["containers"], mains, well, strict=True)]
        pairs = zip(spec.get("initContainers", []), inits, passed, strict=True)
        init_statuses = [self._container(c, s, p) for c, s, p in pairs]
        status: Object = {
            "phase": "Running" if all(passed) and any(_was_started(s) for s in statuses) else "Pending",
            "conditions": self._conditions(sandbox, passed, well),
            "startTime": stamp(self.life.began),
            "containerStatuses": statuses,
        }
        if init_statuses:
            status["initContainerStatuses"] = init_statuses
        if self.host_ip:
            status |= {"hostIP": self.host_ip, "hostIPs": [{"ip": self.host_ip}]}
        if sandbox and self.pod_ip:
            status |= {"podIP": self.pod_ip, "podIPs": [{"ip": self.pod_ip}]}
        names = [c["name"] for c in (*spec.get("initContainers", []), *spec["containers"])]
        running = frozenset(n for n, s in zip(names, [*inits, *mains], strict=True) if "running" in s)
        return Report(status, again, notes, running)

    def _conditions(self, sandbox: bool, passed: list[bool], well: list[bool]) -> list[Object]:
        spec = self.pod["spec"]
        inits = [c["name"] for c, p in zip(spec.get("initContainers", []), passed, strict=True) if not p]
        mains = [c["name"] for c, w in zip(spec["containers"], well, strict=True) if not w]
        unready = ("ContainersNotReady", f"containers with unready status: [{' '.join(mains)}]") if mains else ("", "")
        incomplete = (
            ("ContainersNotInitialized", f"containers with incomplete status: [{' '.join(inits)}]")
            if inits
            else ("", "")
        )
        return [
            _condition(self.life, self.now, "PodReadyToStartContainers", sandbox),
            _condition(self.life, self.now, "Initialized", not inits, *incomplete),
            _condition(self.life, self.now, "Ready", not mains, *unready),
            _condition(self.life, self.now, "ContainersReady", not mains, *unready),
            _condition(self.life, self.now, "PodScheduled", True),
        ]

    def _container(self, container: Object, state: Object, ready: bool) -> Object:
        name = container["name"]
        started = "running" in state or "terminated" in state or name in self.life.ended
        made: Object = {
            "name": name,
            "state": state,
            "lastState": {} if "terminated" in state else self.life.ended.get(name, {}),
            "ready": ready,
            "restartCount": self.life.restarts.get(name, 0),
            "image": container["image"],
            "imageID": container["image"] if started else "",
            "started": ready,
        }
        if started:
            made["containerID"] = "containerd://simulated"
        return made


def _was_started(status: Object) -> bool:
    return "running" in status["state"] or bool(status["lastState"]) or "terminated" in status["state"]


def essence(status: Object) -> object:
    """What distinguishes two statuses of a pod for those who read them."""

    def of(entry: Object) -> object:
        kind, detail = next(iter(entry.get("state", {}).items()), ("", {}))
        words = (detail.get("reason"), detail.get("message"), detail.get("exitCode"))
        return entry["name"], kind, words, entry.get("ready"), entry.get("restartCount"), bool(entry.get("lastState"))

    return (
        status.get("phase"),
        sorted(
            (c["type"], c["status"], c.get("reason") or "", c.get("message") or "")
            for c in status.get("conditions", [])
        ),
        [of(c) for c in status.get("initContainerStatuses", [])],
        [of(c) for c in status.get("containerStatuses", [])],
    )
