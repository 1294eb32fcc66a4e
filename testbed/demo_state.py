"""What `make demo` made and where, written down before it makes anything: `make down` removes exactly that."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from testbed import paths


@dataclass(frozen=True)
class DemoState:
    """One demo. ``context`` is None on the kind cluster of the test bed, else the context of somebody's cluster.

    ``server`` is the address that context had then: a context may be given another meaning later. ``fingerprint`` is
    that of what was installed, "" until the demo has passed its proof.
    """

    context: str | None
    kubeconfig: str | None
    server: str = ""
    fingerprint: str = ""

    @property
    def trust(self) -> Path:
        """Folder of the keys of a demo on somebody's cluster; the test bed's own clusters have theirs themselves."""
        return self.file.with_suffix(".trust")

    @property
    def file(self) -> Path:
        """Where it is written down."""
        return _file(self.context)

    def save(self) -> None:
        """Remember this demo; one that is remembered for the same cluster is replaced."""
        self.file.write_text(json.dumps(asdict(self)))

    def forget(self) -> None:
        """It is gone."""
        shutil.rmtree(self.trust, ignore_errors=True)
        self.file.unlink(missing_ok=True)


def load(context: str | None) -> DemoState | None:
    """The demo on that cluster, None when none is remembered."""
    return _read(_file(context))


def on_clusters_of_others() -> list[DemoState]:
    """Every demo that is remembered for a cluster that the test bed did not make."""
    found = (_read(file) for file in sorted(paths.state().glob("demo-*.json")))
    return [state for state in found if state]


def _file(context: str | None) -> Path:
    # A context's name may hold any character.
    return paths.state() / (
        f"demo-{hashlib.sha256(context.encode()).hexdigest()[:12]}.json" if context else "demo.json"
    )


def _read(file: Path) -> DemoState | None:
    try:
        return DemoState(**json.loads(file.read_text()))
    except (OSError, ValueError, TypeError):
        return None
