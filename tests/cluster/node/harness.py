"""The services of a node as the tests run them: within the test's process, or as a process of their own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp.test_utils import TestClient, TestServer

from jil.node.compliance import ComplianceFile
from jil.node.connect.database import DatabaseCheck
from jil.node.events.outbox import Outbox
from jil.node.monitor import Monitor
from jil.node.settings import DatabaseSettings, Identity
from jil.node.transfers import schema
from jil.node.transfers.__main__ import pool_for
from jil.node.transfers.app import Service, create
from jil.node.transfers.ledger import Ledger
from jil.node.transfers.rules import interpret
from testbed.ports import free_ports

OPERATOR = Path(__file__).parents[3] / "operator"
NODE_ID = "CH-ZUG-01"

Client = TestClient[Any, Any]


@contextlib.asynccontextmanager
async def transfer_service(
    settings: DatabaseSettings, *, compliance: Path | None = None, node_id: str = NODE_ID
) -> AsyncIterator[Client]:
    """The transfer service within the test's process, its schema in place and its database just checked."""
    target = schema.Schema(lambda: schema.upgrade(settings, application="test"))
    await target.prepare()
    # Asked once, and believed for three minutes (three times interval and deadline).
    database = Monitor(DatabaseCheck(settings, application="test-check"), deadline=60)
    await database.refresh()
    file = ComplianceFile(compliance, interpret) if compliance is not None else None
    follower = None
    if file is not None:
        file.read()
        follower = asyncio.create_task(file.follow())
    try:
        async with pool_for(settings) as pool:
            service = Service(
                identity=Identity(node_id=node_id, region="ch-zug", jurisdiction="CH/FINMA"),
                ledger=Ledger(pool, Outbox(node_id)),
                schema=target,
                database=database,
                compliance=file,
            )
            app, _ = create(service)
            async with TestClient(TestServer(app)) as client:
                yield client
    finally:
        await database.check.close()
        if follower is not None:
            follower.cancel()


Answer = tuple[int, dict[str, Any]]


async def patiently(ask: Callable[[], Awaitable[Answer]], *, seconds: float = 60) -> Answer:
    """As a client of the service does it: what a busy database turned away, unchanged, is sent again."""
    deadline = time.monotonic() + seconds
    while True:
        status, body = await ask()
        busy = status == 503 and "nothing was changed" in body.get("detail", "")
        if not busy or time.monotonic() > deadline:
            return status, body
        await asyncio.sleep(0.5)


async def open_account(client: Client, account: str, balance: int = 0, currency: str = "CHF") -> None:
    body = {"id": account, "currency": currency, "openingBalance": balance}

    async def ask() -> Answer:
        async with client.post("/accounts", json=body) as response:
            return response.status, await response.json(content_type=None)

    status, answer = await patiently(ask)
    assert status in (200, 201), answer


async def transfer_once(client: Client, debit: str, credit: str, amount: int, key: str, **more: Any) -> Answer:
    body = {"from": debit, "to": credit, "amount": amount, "idempotencyKey": key, **more}
    async with client.post("/transfers", json=body) as response:
        return response.status, await response.json(content_type=None)


async def transfer(client: Client, debit: str, credit: str, amount: int, key: str, **more: Any) -> Answer:
    return await patiently(lambda: transfer_once(client, debit, credit, amount, key, **more))


async def balance(client: Client, account: str) -> int:
    async def ask() -> Answer:
        async with client.get(f"/accounts/{account}") as response:
            return response.status, await response.json(content_type=None)

    status, answer = await patiently(ask)
    assert status == 200, answer
    return int(answer["balance"])


class Program:
    """``python -m MODULE`` with exactly the given environment, its standard error kept."""

    def __init__(
        self,
        module: str,
        environment: Mapping[str, str],
        *,
        arguments: Sequence[str] = (),
        prelude: str = "",
    ) -> None:
        (self.port,) = free_ports(1)
        # Files, not pipes: a pipe that nobody reads stops the program when it is full.
        self._out = tempfile.TemporaryFile()  # noqa: SIM115  lives as long as the program
        self._err = tempfile.TemporaryFile()  # noqa: SIM115
        started = f"import runpy, sys; sys.argv = ['{module}', *{list(arguments)!r}]; {prelude}"
        self.process = subprocess.Popen(
            [sys.executable, "-c", f"{started}\nrunpy.run_module('{module}', run_name='__main__')"],
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(OPERATOR),
                "JIL_PORT": str(self.port),
                "JIL_HOST": "127.0.0.1",
                "JIL_DRAIN_SECONDS": "0.3",
                **environment,
            },
            stdout=self._out,
            stderr=self._err,
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def until(self, path: str, status: int = 200, *, seconds: float = 90) -> dict[str, Any] | str:
        """Wait until GET ``path`` answers ``status``; its body."""
        deadline = time.monotonic() + seconds
        seen: object = None
        async with aiohttp.ClientSession() as session:
            over = False
            while not over:
                over = time.monotonic() >= deadline
                if self.process.poll() is not None:
                    raise AssertionError(f"the program has ended: {self.end()[2][-3000:]}")
                try:
                    async with session.get(self.url + path) as response:
                        text = await response.text()
                        seen = (response.status, text)
                        if response.status == status:
                            is_json = response.content_type == "application/json"
                            return json.loads(text) if is_json else text
                except aiohttp.ClientError as error:
                    seen = error
                await asyncio.sleep(0.05)
        raise AssertionError(f"GET {path} does not answer {status} within {seconds} s, last: {seen}")

    def end(self, *, seconds: float = 60) -> tuple[int, str, str]:
        """Exit code, standard output and error of a program that ends (by itself, or after a signal)."""
        code = self.process.wait(timeout=seconds)
        self._out.seek(0)
        self._err.seek(0)
        return code, self._out.read().decode(), self._err.read().decode()


@contextlib.contextmanager
def program(module: str, environment: Mapping[str, str], **options: Any) -> Iterator[Program]:
    """A program for the time of the block; killed at its end if it still runs."""
    started = Program(module, environment, **options)
    try:
        yield started
    finally:
        if started.process.poll() is None:
            started.process.kill()
            started.process.wait()
