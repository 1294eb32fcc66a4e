"""The demo's trust: keys made on the spot, and every image and release signed with them, by jilctl as anybody would.

Keys, their password and what was signed live in a folder of the state, for their owner alone; a second run finds them
there and signs only what is not signed yet.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from testbed import paths
from testbed.errors import BedError
from testbed.processes import run
from testbed.progress import say

T = TypeVar("T")

ROLES = {"quickstart-builder": "builder", "quickstart-ci": "ci"}
"""Ids of the demo's keys, and what each may do."""
BUILDER, CI = ROLES
NO_COMMIT = "0" * 40
"""In the provenance of a tree that is no git checkout; git's own word for `none`."""


@dataclass(frozen=True)
class Trust:
    """Keys for one cluster, and how jilctl reaches the images' registry from this machine."""

    folder: Path
    registry: Mapping[str, str] = field(default_factory=dict)
    """JIL_REGISTRY_* of jilctl; {} where the registry is what its name says and docker's own login does."""
    forget_attachments: Callable[[str], None] | None = None
    """Takes all that is attached to an image away, in a registry of ours: it is by keys that are gone."""

    def make_keys(self) -> bool:
        """The keys, unless they are there; whether they are new. Raises BedError with jilctl's own words."""
        if self._complete.exists():
            return False
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(mode=0o700, parents=True)
        password = self.folder / "password"
        password.touch(mode=0o600)
        password.write_text(secrets.token_urlsafe(24))

        def make(key_id: str) -> None:
            words = ["--key", str(self.key(key_id)), "--id", key_id, "--owner", key_id, "--role", ROLES[key_id]]
            entry = json.loads(self.jilctl("keys", "generate", *words, "-o", "json"))[0]
            (self.folder / f"{key_id}.pub").write_text(entry["publicKey"])

        _side_by_side(make, ROLES)
        self.program.parent.mkdir()
        words = [*(f"{name}={value}" for name, value in _SOURCE.items()), *JILCTL]
        self.program.write_text(f'#!/bin/sh\nexec env {shlex.join(words)} "$@"\n')
        self.program.chmod(0o755)
        self._complete.touch()
        return True

    def key(self, key_id: str) -> Path:
        """The private key, in encrypted PEM."""
        return self.folder / f"{key_id}.pem"

    @property
    def _complete(self) -> Path:
        return self.folder / "complete"

    def public_keys(self) -> dict[str, str]:
        """Key id -> public key in PEM; {} when no keys were made."""
        if not self._complete.exists():
            return {}
        return {key_id: (self.folder / f"{key_id}.pub").read_text() for key_id in ROLES}

    def sign_images(self, images: Sequence[str], network: str, *, new: bool) -> None:
        """Provenance and a signature for each image (``repository@digest``) that the policy of ``network`` refuses.

        ``network`` is the manifest of the JILNetwork; ``new`` says that nothing can be signed yet, because the keys are
        of this moment. Raises BedError naming the image, with jilctl's own words.
        """
        policy = self.folder / "network.yaml"
        policy.write_text(network)
        if new and self.forget_attachments:
            for image in images:
                self.forget_attachments(image)
        todo = sorted(set(images))
        if not new:
            verdicts = _side_by_side(self._verified, todo)
            todo = [image for image, good in zip(todo, verdicts, strict=True) if not good]
        if not todo:
            return
        commit, builder = _origin()
        words = ["--key", str(self.key(BUILDER)), "--commit", commit, "--builder", builder, "--into", str(self.folder)]
        self._pipeline("provenance", *words, "--source", f"file:///{paths.CHECKOUT.name}", *todo)
        _side_by_side(self._sign, todo)

    def _verified(self, image: str) -> bool:
        """Exit status 1 is a refusal; any other failure says nothing about the image and is raised."""
        code, said = self._ended(*self._with_policy("image", "verify", image, "--track", "devnet"))
        if code not in (0, 1):
            raise BedError(f"{image} could not be looked at: {said}")
        return code == 0

    def _sign(self, image: str) -> None:
        statement = self.folder / statement_file(image)
        words = ["image", "sign", image, "--key", str(self.key(CI)), "--provenance", str(statement)]
        self.jilctl(*self._with_policy(*words))

    def signed_release(self, text: str) -> str:
        """A manifest with one JILRelease, signed; the same text is the same signature in every run.

        Raises BedError when one of its images is not signed.
        """
        if not self.public_keys():
            raise BedError("the demo has no keys yet: its images are signed first")
        folder = self.folder / "releases"
        folder.mkdir(exist_ok=True)
        file = folder / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.yaml"
        if not file.exists():
            part = file.with_suffix(".part.yaml")
            part.write_text(text)
            words = ["release", "sign", "--file", str(part), "--key", str(self.key(CI)), "--write"]
            self.jilctl(*self._with_policy(*words))
            part.rename(file)
        return file.read_text()

    def sealed_release(self, text: str) -> str:
        """As `signed_release`, but nobody looks at the images first."""
        return self._pipeline("seal", "--key", str(self.key(CI)), stdin=text)

    def altered(self, image: str) -> str:
        """A copy of the image in its repository with one label more, which nobody signed."""
        return self._pipeline("alter", image).strip()

    def inspect(self, image: str) -> str:
        """The chain of signatures of an image, as `jilctl image inspect` prints it."""
        return self.jilctl(*self._with_policy("image", "inspect", image))

    def jilctl(self, *words: str) -> str:
        """Run jilctl to its end; returns its stdout. Raises BedError."""
        return run([*JILCTL, *words], env=self._environment, timeout_s=60)

    def _with_policy(self, *words: str) -> list[str]:
        return [*words, "--policy", str(self.folder / "network.yaml")]

    def _ended(self, *words: str) -> tuple[int, str]:
        done = subprocess.run(
            [*JILCTL, *words],
            env={**os.environ, **self._environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    def _pipeline(self, *words: str, stdin: str | None = None) -> str:
        command = [sys.executable, "-m", "testbed.demo_pipeline", *words]
        return run(command, env=self._environment, cwd=paths.CHECKOUT, stdin=stdin, timeout_s=60)

    @property
    def _environment(self) -> dict[str, str]:
        # What a shell has from `make env` is about another registry, or about this one as it was.
        found = {**_SOURCE, **dict.fromkeys(_OF_A_SHELL, ""), **self.registry, "NO_COLOR": "1", "COLUMNS": "160"}
        password = self.folder / "password"
        return found | ({"JIL_KEY_PASSWORD": password.read_text()} if password.exists() else {})

    @property
    def program(self) -> Path:
        """A program `jilctl` in a folder of its own, for a person's shell; it is made with the keys."""
        return self.folder / "bin" / "jilctl"

    def forget(self) -> None:
        """Keys and everything made with them are gone."""
        shutil.rmtree(self.folder, ignore_errors=True)


_OF_A_SHELL = ("JIL_POLICY", "JIL_NETWORK", "JIL_REGISTRY_CONFIG", "JIL_REGISTRY_CA", "JIL_REGISTRY_ENDPOINTS")
_SOURCE = {"PYTHONPATH": str(paths.CHECKOUT / "operator")}
JILCTL = (sys.executable, "-m", "jil.cli")
"""This Python: `make demo` and the tests run in the virtual environment that has what jilctl needs."""


def statement_file(image: str) -> str:
    """Name of the file with the provenance of ``repository@digest``."""
    return f"{image.rpartition(':')[2][:16]}.intoto.json"


def _origin() -> tuple[str, str]:
    """Commit of the checkout and the builder's URI; what both cannot say in full is said to the person."""
    builder = "https://jil.io/demo/make-demo"
    git = ["git", "-C", str(paths.CHECKOUT)]
    try:
        top, commit = run([*git, "rev-parse", "--show-toplevel", "HEAD"], timeout_s=20).split("\n")[:2]
        if Path(top).resolve() != paths.CHECKOUT:
            raise BedError("it lies in somebody else's checkout")
        changed = run([*git, "status", "--porcelain"], timeout_s=60).strip()
    except BedError as problem:
        why = str(problem).strip().splitlines()[-1]
        say(f"git knows no commit of this tree ({why}): the provenance of its images names {NO_COMMIT[:12]}")
        return NO_COMMIT, f"{builder}?vcs=none"
    if changed:
        say(f"the tree has changes that are not committed: the provenance names {commit[:12]} and calls it modified")
        return commit, f"{builder}?modified=true"
    return commit, builder


def _side_by_side(act: Callable[[str], T], what: Iterable[str]) -> list[T]:
    """Each act is a process that mostly starts: three at a time fill two cores. The first failure is raised."""
    with ThreadPoolExecutor(3) as pool:
        return list(pool.map(act, what))
