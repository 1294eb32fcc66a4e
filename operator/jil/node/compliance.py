"""The compliance config that a jurisdiction pushes: a JSON file of strings, taken up without a restart.

The kubelet replaces the file some time after the ConfigMap changes; it is read again every second. A file that cannot
be used never takes the place of a good one: the last good config stays in force and the reason is reported. Without
any good config so far, nothing is in force, and who depends on it has to refuse its work.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Generic, TypeVar

from pydantic import StringConstraints, TypeAdapter, ValidationError

log = logging.getLogger(__name__)

POLL_SECONDS = 1.0
LARGEST_FILE = 1024 * 1024  # a ConfigMap cannot be larger

Policy = TypeVar("Policy")

_CONTENT = TypeAdapter(
    dict[Annotated[str, StringConstraints(max_length=64)], Annotated[str, StringConstraints(max_length=1024)]]
)


class InvalidConfigError(Exception):
    """The file's content cannot be used; the text says why."""


@dataclass(frozen=True)
class Loaded(Generic[Policy]):
    """The config in force (None: none yet), since when, and why the newest file is not it (None: it is)."""

    policy: Policy | None
    since: datetime | None
    error: str | None


def parse_content(raw: bytes) -> dict[str, str]:
    """The file's map. Raises InvalidConfigError."""
    try:
        return _CONTENT.validate_json(raw, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidConfigError(
            f"not a JSON object of strings: {where + ': ' if where else ''}{first['msg']}"
        ) from None


class ComplianceFile(Generic[Policy]):
    """Watches one file. ``interpret`` makes a policy of the map, or raises InvalidConfigError."""

    def __init__(
        self,
        path: Path,
        interpret: Callable[[Mapping[str, str]], Policy],
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._path = path
        self._interpret = interpret
        self._now = now
        self._raw: bytes | None = None
        self._loaded: Loaded[Policy] = Loaded(None, None, f"{path} has not been read yet")

    @property
    def path(self) -> Path:
        return self._path

    def loaded(self) -> Loaded[Policy]:
        """What is in force."""
        return self._loaded

    def read(self) -> None:
        """Look at the file once. Never raises: what is wrong is in ``loaded()``."""
        try:
            with self._path.open("rb") as file:
                raw = file.read(LARGEST_FILE + 1)
        except OSError as error:
            self._refuse(f"{self._path} cannot be read: {error.strerror or error}", raw=None)
            return
        if raw == self._raw:
            return
        try:
            if len(raw) > LARGEST_FILE:
                raise InvalidConfigError(f"larger than {LARGEST_FILE} bytes")
            policy = self._interpret(parse_content(raw))
        except InvalidConfigError as error:
            self._refuse(f"{self._path}: {error}", raw=raw)
            return
        self._raw = raw
        self._loaded = Loaded(policy, self._now(), None)
        log.info("compliance config in force: %s", policy)

    def _refuse(self, reason: str, *, raw: bytes | None) -> None:
        if reason != self._loaded.error:
            log.error("compliance config not taken up, %s", reason)
        self._raw = raw
        self._loaded = Loaded(self._loaded.policy, self._loaded.since, reason)

    async def follow(self) -> None:
        """Read again every second, until cancelled."""
        while True:
            await asyncio.to_thread(self.read)
            await asyncio.sleep(POLL_SECONDS)
