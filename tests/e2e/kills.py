"""SIGKILL for the operator as it is installed on kind: its leading process dies when the API server shows a certain thing.

Everything is made ready before: the watch is open, and so is a shell on the leader's machine that knows the process. What
lies between the sight and the signal is one line to that shell.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pykube  # type: ignore[import-untyped]

from testbed import cluster
from testbed.audit import LOG_IN_NODE
from testbed.errors import BedError
from testbed.quickstart import SYSTEM, DemoNode
from tests import audit, history
from tests.e2e.demo import Demo

Object = Mapping[str, Any]
ACCOUNT = f"system:serviceaccount:{SYSTEM}:jil-operator"
LEASE = "jil-operator"
#: Seconds: until a place is reached, until a dead process is gone, until somebody leads whose predecessor has died.
REACHED, GONE, LED = 120.0, 10.0, 60.0
#: The operator is at rest when it has written nothing for so long, and comes to rest within so long.
CALM, REST = 3.0, 60.0


class Api:
    """The API server, as the admin sees it: reads and watches that cost no process each."""

    def __init__(self, demo: Demo) -> None:
        self._client = pykube.HTTPClient(pykube.KubeConfig.from_file(str(demo.target.kubeconfig)))
        self._client.session.trust_env = False  # no proxy lies between a machine and its own loopback

    def get(self, path: str) -> dict[str, Any] | None:
        """The object, None where none is."""
        answer = self._client.session.get(self._client.url + path, timeout=30)
        if answer.status_code == 404:
            return None
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    def version(self, path: str) -> str:
        """From where on a collection has to be watched to miss nothing that happens after now."""
        listed = self.get(path)
        assert listed is not None, path
        return str(listed["metadata"]["resourceVersion"])

    @contextlib.contextmanager
    def watch(self, path: str, since: str) -> Iterator[Iterator[tuple[str, Object]]]:
        """The events of a collection as (type, object); they end after ``REACHED`` seconds."""
        asked = {"watch": "true", "resourceVersion": since, "timeoutSeconds": str(int(REACHED))}
        stream = self._client.session.get(
            self._client.url + path, params=asked, stream=True, timeout=(30, REACHED + 10)
        )
        with stream:
            stream.raise_for_status()
            events = (json.loads(line) for line in stream.iter_lines())
            yield ((str(event["type"]), event["object"]) for event in events)


@dataclass(frozen=True)
class Place:
    """Where to die: when the ``nth`` object of a collection is seen that is ``reached`` (by event type and object)."""

    what: str
    path: str
    reached: Callable[[str, Object], bool]
    nth: int = 1


@dataclass
class Death:
    """Of one leading process. ``holder``: as which it held the lease; ``version``: of what was seen at the place."""

    place: Place
    holder: str
    version: str = ""
    told: str = ""
    """What went wrong with the kill itself, "" when the process is gone."""


class _Shell:
    """A shell on a machine of the cluster that knows the processes of one pod."""

    def __init__(self, machine: str, pod_uid: str) -> None:
        self._process = subprocess.Popen(
            ["docker", "exec", "-i", machine, "sh"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            bufsize=1,
        )
        # A pod's processes are known by their control group, whatever its container's id is after a restart.
        groups = f"{pod_uid}|{pod_uid.replace('-', '_')}"
        self._say(
            f"for f in $(grep -lE '{groups}' /proc/[0-9]*/cgroup 2>/dev/null); do p=${{f#/proc/}}; p=${{p%/cgroup}};"
            " [ \"$(cat /proc/$p/comm)\" = pause ] || printf '%s ' $p; done; echo"
        )
        self.processes = self._hear().split()

    def kill(self) -> str:
        """SIGKILL; returns "gone" when none of the processes is left."""
        some = " ".join(self.processes)
        alive = " || ".join(f"kill -0 {one} 2>/dev/null" for one in self.processes)
        self._say(
            f"kill -9 {some}; n=0; while {alive}; do n=$((n+1)); [ $n -gt {GONE * 20:.0f} ] && break; sleep 0.05; done;"
            f" if {alive}; then echo alive; else echo gone; fi"
        )
        return self._hear()

    def close(self) -> None:
        self._process.kill()
        self._process.wait(10)

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _hear(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


@contextlib.contextmanager
def killed_at(demo: Demo, place: Place, after: Death | None = None) -> Iterator[Death]:
    """The body begins a turn; when it and the block have ended, the leading process has died at the place.

    ``after``: of the one whose successor is to die now, in the same turn; what happened since that death counts.
    """
    api = Api(demo)
    since = after.version if after else api.version(place.path)
    death = Death(place, _leader(demo, after))
    machine, uid = _pod(demo, death.holder)
    shell = _Shell(machine, uid)
    try:
        assert shell.processes, f"pod {death.holder} has no process on {machine}"
        with api.watch(place.path, since) as events:
            watching = threading.Thread(target=_kill_when_seen, args=(demo, events, shell, death), daemon=True)
            watching.start()
            yield death
            watching.join(REACHED + 30)
            assert not watching.is_alive(), f"{place.what}: still not seen, or its killer hangs"
    finally:
        shell.close()
    assert not death.told, death.told


def _kill_when_seen(demo: Demo, events: Iterator[tuple[str, Object]], shell: _Shell, death: Death) -> None:
    place, seen = death.place, set[str]()
    try:
        for kind, thing in events:
            if place.reached(kind, thing):
                seen.add(thing["metadata"]["name"])
            if len(seen) >= place.nth:
                answer = shell.kill()
                death.version = str(thing["metadata"]["resourceVersion"])
                death.told = "" if answer == "gone" else f"the process did not die: {answer!r}"
                _give_back(demo, death.holder)
                return
        death.told = f"not seen in {REACHED:.0f} s: {place.what}"
    except Exception as problem:
        death.told = f"{place.what}: {problem!r}"


def _give_back(demo: Demo, holder: str) -> None:
    """What time does to the lease of a process that is dead, at once. That another takes over when it has run out by
    itself is shown elsewhere."""
    ended = [
        {"op": "test", "path": "/spec/holderIdentity", "value": holder},
        {"op": "replace", "path": "/spec/holderIdentity", "value": ""},
        {"op": "replace", "path": "/spec/leaseDurationSeconds", "value": 1},
    ]
    with contextlib.suppress(BedError):  # somebody took it meanwhile: it had run out
        demo.kubectl("patch", "lease", LEASE, "-n", SYSTEM, "--type=json", "-p", json.dumps(ended))


def _leader(demo: Demo, after: Death | None) -> str:
    def holder() -> str:
        return str(demo.get("lease", LEASE, "-n", SYSTEM)["spec"].get("holderIdentity") or "")

    dead = after.holder if after else ""
    demo.until(lambda: holder() not in ("", dead), "a leader", LED)
    return holder()


def _pod(demo: Demo, holder: str) -> tuple[str, str]:
    """Machine and UID of the pod in which a process leads."""
    pod = demo.get("pod", holder.rpartition("_")[0], "-n", SYSTEM)
    return pod["spec"]["nodeName"], pod["metadata"]["uid"]


# -- what the audit log says --------------------------------------------------------------------------------------------
@dataclass
class Log:
    """The API server's audit log from a position on."""

    ours: cluster.Cluster
    position: int = field(init=False)

    def __post_init__(self) -> None:
        self.mark()

    def mark(self) -> None:
        """From here on."""
        self.position = self._size()

    def events(self) -> list[dict[str, Any]]:
        """Everything since the mark. An unfinished last line is left out."""
        assert self._size() >= self.position, "the audit log was begun anew: what it said is gone"
        text = self._docker("tail", "-c", f"+{self.position + 1}", LOG_IN_NODE)
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines() if line.strip()]

    def steps(self) -> list[dict[str, Any]]:
        """The operator's writes since the mark, except what comes by the clock."""
        return sorted((one for one in self.events() if _step(one)), key=lambda one: one[history.RECEIVED])

    def rest(self) -> None:
        """Waits until the operator writes nothing any more, and marks that moment."""
        deadline = time.monotonic() + REST
        while True:
            self.mark()
            time.sleep(CALM)
            wrote = self.steps()
            if not wrote:
                return
            assert time.monotonic() < deadline, f"the operator does not come to rest: {told(wrote)}"

    def lives(self, first: str) -> dict[str, list[dict[str, Any]]]:
        """Who led since the mark, in order, and what each wrote then. ``first``: who held the lease at the mark."""
        holder, found = first, dict[str, list[dict[str, Any]]]({first: []})
        for one in sorted(self.events(), key=lambda one: one[history.RECEIVED]):
            if one["user"]["username"] != ACCOUNT or not audit.carried_out(one):
                continue
            body = one.get("requestObject")
            if one["objectRef"].get("resource") == "leases" and isinstance(body, Mapping):
                holder = (body.get("spec") or {}).get("holderIdentity") or holder
                found.setdefault(holder, [])
            elif _step(one):
                found[holder].append(one)
        return found

    def _size(self) -> int:
        return int(self._docker("stat", "-c", "%s", LOG_IN_NODE))

    def _docker(self, *command: str) -> str:
        return cluster.running_engine().docker("exec", self.ours.control_plane_node, *command)


def _step(event: Object) -> bool:
    """Whether it is a write of the operator that takes the cluster further: Leases, Events and samples do not."""
    return (
        audit.carried_out(event)
        and event["verb"] in history.WRITES
        and event["user"]["username"] == ACCOUNT
        and event["objectRef"].get("resource") not in ("leases", "events")
        and "jil-operator-samples" not in event["requestURI"]
    )


def about(steps: list[dict[str, Any]], node: DemoNode) -> list[dict[str, Any]]:
    """Those that are about one node: in its namespace, or on its things in the system's."""
    return [
        one
        for one in steps
        if one["objectRef"].get("namespace") == node.namespace or audit.name_of(one).startswith(node.name)
    ]


def told(steps: list[dict[str, Any]]) -> str:
    """The last of them, for people."""
    return "; ".join(f"{one['verb']} {one['requestURI'].partition('?')[0]}" for one in steps[-8:])
