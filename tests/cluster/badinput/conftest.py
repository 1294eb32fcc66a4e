"""One simulated world for everything that may be wrong around the real operator process: it starts and ends in each test.

The API server shows the name ``localhost`` a certificate of its own (SNI), so that a test can replace the one that the
operator sees while the rig itself goes on; between the two stands a door.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from testbed.certificates import Authority, KeyPair
from testbed.controlplane import ControlPlane
from tests.cluster.badinput.door import Door
from tests.sim.home import Home
from tests.sim.world import World

_numbers = itertools.count(1)
#: For tests in which leadership ends by itself.
QUICK = {"JIL_LEASE_DURATION": "7", "JIL_LEASE_RENEW_DEADLINE": "5", "JIL_LEASE_RETRY": "1"}
#: Seconds. None of these tests is about how long something takes, and a machine may be busy.
PATIENCE = 240.0


class PatientWorld(World):
    """Waits for longer than the others before it calls something broken."""

    def until(self, condition: Callable[[], object], what: str, seconds: float = PATIENCE) -> None:
        super().until(condition, what, max(seconds, PATIENCE))


@dataclass
class Bad:
    """The world, the door in front of its API server, and the certificate that is shown behind the door."""

    world: World
    door: Door
    authority: Authority
    shown: KeyPair
    folder: Path
    _count: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def kubeconfig(
        self, user: Mapping[str, str] | None = None, *, ca: Path | None = None, insecure: bool = False
    ) -> Path:
        """A way in through the door, as a file; as the admin unless ``user`` says otherwise."""
        admin = yaml.safe_load(self.world.plane.kubeconfig.read_text())["users"][0]["user"]
        path = self.folder / f"kubeconfig-{next(self._count)}"
        cluster = {
            "server": f"https://localhost:{self.door.port}",
            "certificate-authority": str(ca or self.authority.pair.certificate),
            "insecure-skip-tls-verify": insecure,
        }
        document = {
            "clusters": [{"name": "c", "cluster": cluster}],
            "users": [{"name": "u", "user": dict(user) if user else admin}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
        path.write_text(yaml.safe_dump(document))
        return path

    @contextlib.contextmanager
    def shows_another_certificate(self, folder: Path) -> Iterator[Path]:
        """Behind the door stands a server with a certificate of another CA, whose file this yields."""
        other = Authority(folder / "another", "another-authority")
        new = other.server("shown", ["DNS:localhost"])
        kept = [(path, path.read_bytes()) for path in (self.shown.certificate, self.shown.key)]
        try:
            self.shown.certificate.write_bytes(new.certificate.read_bytes())
            self.shown.key.write_bytes(new.key.read_bytes())
            self._until_shown(other)
            self.door.slam()
            yield other.pair.certificate
        finally:
            for path, content in kept:
                path.write_bytes(content)
            self._until_shown(self.authority)
            self.door.slam()

    def _until_shown(self, authority: Authority) -> None:
        """The API server reads changed files within a second or two."""
        context = ssl.create_default_context(cafile=str(authority.pair.certificate))

        def verifies() -> bool:
            with socket.create_connection(("127.0.0.1", self.door.port), timeout=30) as raw:
                try:
                    context.wrap_socket(raw, server_hostname="localhost").close()
                except ssl.SSLError:
                    return False
                return True

        self.world.until(verifies, "the API server to show its new certificate")

    def says(self, process: subprocess.Popen[bytes], *words: str) -> None:
        """Wait until the operator's log has one line with all the words."""
        number = self.world.operators.index(process)
        self.world.until(
            lambda: any(all(word in line for word in words) for line in self.world.log(number).splitlines()),
            f"the operator to say {words}",
        )

    def leads(self, process: subprocess.Popen[bytes]) -> None:
        """Wait until the operator leads."""
        self.says(process, "leading with fencing number")

    def writes(self, home: Home, since: int) -> list[str]:
        """What operators wrote in the jurisdiction's namespace since a place in the audit log, samples left out."""
        return [
            entry["requestURI"]
            for entry in self._of_operators(since)
            if f"/namespaces/{home.namespace}/" in entry["requestURI"]
            and "jil-operator-samples" not in entry["requestURI"]
        ]

    def rests(self, home: Home) -> bool:
        """Whether the leader writes nothing in the namespace for seconds in which it is seen to be at work."""
        since = self.world.plane.audit_position()
        time.sleep(4.5)
        renewals = [entry for entry in self._of_operators(since) if "/leases/" in entry["requestURI"]]
        return len(renewals) >= 2 and not self.writes(home, since)

    def _of_operators(self, since: int) -> Iterator[dict[str, Any]]:
        return (
            entry
            for entry in self.world.plane.audit_entries(since)
            if entry["verb"] in ("create", "update", "patch", "delete")
            and entry.get("userAgent", "").startswith("jil-operator/")
        )


@pytest.fixture(scope="package")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bad]:
    """One control plane for this folder. Every test uses a network and a namespace of its own."""
    folder = tmp_path_factory.mktemp("bad")
    authority = Authority(folder / "pki", "behind-the-door")
    shown = authority.server("shown", ["DNS:localhost"])
    flag = f"--tls-sni-cert-key={shown.certificate},{shown.key}:localhost"
    with ControlPlane(apiserver_flags=[flag]) as plane, PatientWorld(plane, folder) as world:
        world.release("r1")
        with Door(int(plane.url.rpartition(":")[2])) as door:
            door.open()
            yield Bad(world, door, authority, shown, folder)


@pytest.fixture(autouse=True)
def _no_operator_stays(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "bad" in request.fixturenames:
        made: Bad = request.getfixturevalue("bad")
        # In order, so that the next one need not wait out a Lease.
        for process in made.world.operators:
            if process.poll() is None:
                process.terminate()
        for process in made.world.operators:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(60)
            made.world.kill(process)
        made.world.kubelet.fates.clear()
        made.door.open()


@pytest.fixture
def home(bad: Bad) -> Home:
    """A jurisdiction that waits for its one node."""
    number = next(_numbers)
    namespace, node_id = f"jil-bad-{number}", f"CH-BAD-{number:02d}"
    member = {"nodeId": node_id, "zone": "CH/FINMA", "founder": True, "namespace": namespace}
    bad.world.network(f"bad-{number}", [member])
    bad.world.jurisdiction(namespace, f"bad-{number}")
    return Home(f"bad-{number}", namespace, node_id.lower(), node_id)


def environment_without_cluster() -> dict[str, str]:
    """Of this process, without anything that leads to a cluster."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("JIL_", "KUBE"))}
