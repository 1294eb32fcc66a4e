"""A person's or pipeline's desk: jilctl in this process, keys, a policy file, and a real registry beside it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import yaml
from typer.testing import CliRunner

from jil.cli.keystore import pem
from jil.cli.main import app
from jil.observe.registry import RegistryClient, RegistryPush
from jil.trust import sign
from jil.trust.policy import Algorithm
from jil.trust.sign import EcdsaSigner, Ed25519Signer
from tests.cluster.registry import rig

T = TypeVar("T")
COMMIT = "0123456789abcdef0123456789abcdef01234567"
SOURCE = "https://git.example.com/jil/app"
PASSWORD = "correct horse"

ROLES = {
    "ci": ["ci"],
    "release": ["signer"],
    "builder": ["builder"],
    "alice": ["approver"],
    "bob": ["approver"],
    "boss": ["signer", "approver"],
}


@dataclass(frozen=True)
class Result:
    """How one command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def yaml(self) -> Any:
        return yaml.safe_load(self.out)


@dataclass
class Desk:
    """``folder`` holds keys (``NAME.pem``), ``policy.yaml``, ``config.json`` and whatever a test writes."""

    folder: Path
    registry: rig.Registry
    environment: dict[str, str] = field(default_factory=dict)

    @classmethod
    def make(cls, folder: Path, registry: rig.Registry) -> Desk:
        desk = cls(folder, registry)
        entries = []
        for name, roles in ROLES.items():
            algorithm = Algorithm.ED25519 if name == "alice" else Algorithm.ECDSA_P256
            key = pem.generate(algorithm)
            path = desk.key(name)
            path.write_bytes(pem.dump(key, PASSWORD.encode()))
            path.chmod(0o600)
            owner = f"{name}@example.com"
            entries.append(
                {
                    "id": name,
                    "algorithm": algorithm.value,
                    "publicKey": pem.public(key.spki),
                    "owner": owner,
                    "roles": roles,
                }
            )
        desk.write_policy(entries)
        auths = {registry.host: {"username": rig.USER, "password": rig.PASSWORD}}
        (folder / "config.json").write_text(json.dumps({"auths": auths}))
        desk.environment = {
            "JIL_POLICY": str(folder / "policy.yaml"),
            "JIL_KEY_PASSWORD": PASSWORD,
            "JIL_REGISTRY_CA": str(registry.ca),
            "DOCKER_CONFIG": str(folder),
            "KUBECONFIG": str(folder / "no-such-kubeconfig"),
            "COLUMNS": "200",
        }
        return desk

    def write_policy(self, keys: list[dict[str, Any]], **more: Any) -> None:
        """The policy of most tests; ``more`` replaces its fields."""
        tracks = [
            {"track": "devnet", "approvals": 0, "provenance": True},
            {"track": "testnet", "approvals": 1, "provenance": True},
            {"track": "mainnet", "approvals": 2, "provenance": True},
        ]
        body = {"keys": keys, "tracks": tracks, "repositories": [f"{self.registry.host}/test/"]} | more
        (self.folder / "policy.yaml").write_text(yaml.safe_dump(body))

    def entries(self) -> list[dict[str, Any]]:
        """The entries of the policy's keys."""
        found = yaml.safe_load((self.folder / "policy.yaml").read_text())["keys"]
        assert isinstance(found, list)
        return found

    def change_key(self, name: str, **fields: Any) -> None:
        """Change fields of one entry of the policy."""
        body = yaml.safe_load((self.folder / "policy.yaml").read_text())
        for entry in body["keys"]:
            if entry["id"] == name:
                entry |= fields
        (self.folder / "policy.yaml").write_text(yaml.safe_dump(body))

    def key(self, name: str) -> Path:
        return self.folder / f"{name}.pem"

    def jilctl(self, *words: str, stdin: str | None = None, **environment: str) -> Result:
        """Run a command to its end."""
        done = CliRunner().invoke(app, list(words), input=stdin, env={**self.environment, **environment})
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
        return Result(done.exit_code, done.stdout, done.stderr)

    def ok(self, *words: str, **more: str) -> Result:
        """As `jilctl`; the command must succeed."""
        done = self.jilctl(*words, **more)
        assert done.code == 0, (words, done)
        return done

    def refused(self, code: int, *words: str, **more: str) -> str:
        """As `jilctl`; the command must end with ``code`` and one line on standard error, which is returned."""
        done = self.jilctl(*words, **more)
        assert done.code == code, (words, done)
        lines = done.err.strip().splitlines()
        assert len(lines) == 1, lines
        assert lines[0].startswith("jilctl: ")
        assert "Traceback" not in done.out
        return lines[0]

    def with_registry(self, act: Callable[[RegistryPush], Awaitable[T]]) -> T:
        """Run something against the registry."""

        async def run() -> T:
            async with RegistryClient(self.registry.access) as client:
                return await act(RegistryPush(client))

        return asyncio.run(run())

    def build(self, tag: str = "v1", repository: str | None = None) -> tuple[str, str]:
        """Push a new image; returns (reference by tag, by digest)."""
        name = repository or self.registry.repository()
        digest = self.with_registry(lambda push: rig.push_image(push, name, tag))
        return f"{name}:{tag}", f"{name}@{digest}"

    def provenance(self, pinned: str, *, commit: str = COMMIT, signer: str = "builder", **fields: Any) -> Path:
        """What the build says of an image, in a file."""
        repository, _, digest = pinned.partition("@")
        values = {"repository": repository, "digest": digest} | fields
        private = pem.load(self.key(signer).read_bytes(), signer, PASSWORD.encode)
        kind = Ed25519Signer if private.algorithm is Algorithm.ED25519 else EcdsaSigner
        content = sign.sign_provenance(
            kind(signer, private.private),  # type: ignore[arg-type]
            source=SOURCE,
            commit=commit,
            builder="https://ci.example.com/builder",
            finished=datetime.now(UTC) - timedelta(minutes=5),
            **values,
        )
        path = self.folder / f"{digest[-12:]}.provenance"
        path.write_bytes(content)
        return path

    def signed(self, tag: str = "v1") -> str:
        """An image that is signed for devnet, by digest."""
        _, pinned = self.build(tag)
        statement = str(self.provenance(pinned))
        self.ok("image", "sign", pinned, "--key", str(self.key("ci")), "--provenance", statement)
        return pinned

    def promoted(self, release: str = "r1") -> str:
        """An image that is signed and approved on testnet."""
        pinned = self.signed()
        self.ok("image", "promote", pinned, "--to", "testnet", "--key", str(self.key("release")))
        self.approve(pinned, "testnet", "alice", release)
        return pinned

    def approve(self, pinned: str, track: str, who: str, release: str = "r1") -> Result:
        words = ["image", "approve", pinned, "--track", track, "--release", release, "--key", str(self.key(who))]
        return self.ok(*words)
