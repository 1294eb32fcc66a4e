"""Proofs of the sample services: requests as a client of the node sends them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import aiohttp

from jil.node.probe.components import nonce
from jil.node.probe.proof import ContradictionError, Evidence

#: ISO 4217's code for tests and its code for "no currency": the proof overwrites nobody's rate.
TEST_PAIR, TEST_CURRENCY = "XTS-XXX", "XTS"
_TIMEOUT = aiohttp.ClientTimeout(total=8)


class RefusedError(Exception):
    """The service answered with an error."""


@dataclass(frozen=True)
class _Reply:
    status: int
    body: dict[str, Any]
    replayed: bool
    server: str


async def _call(session: aiohttp.ClientSession, method: str, url: str, body: dict[str, Any] | None = None) -> _Reply:
    async with session.request(method, url, json=body) as response:
        document = await response.json(content_type=None)
        if response.status >= 400:
            problem = document if isinstance(document, dict) else {}
            said = ", ".join(str(problem[part]) for part in ("title", "detail", "remedy") if problem.get(part))
            raise RefusedError(f"{method} {url} is refused with {response.status}: {said or document}")
        return _Reply(
            response.status,
            document,
            response.headers.get("Idempotent-Replayed") == "true",
            response.headers.get("Server", ""),
        )


async def transfers(url: str) -> Evidence:
    """Open two accounts, transfer between them, read both balances, and repeat the transfer without effect."""
    run = nonce()[:12]
    debit, credit, key = f"probe-{run}-a", f"probe-{run}-b", f"probe-{run}"
    order = {"from": debit, "to": credit, "amount": 1, "currency": TEST_CURRENCY, "idempotencyKey": key}
    async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:
        for account, balance in ((debit, 10), (credit, 0)):
            body = {"id": account, "currency": TEST_CURRENCY, "openingBalance": balance}
            await _call(session, "POST", f"{url}/accounts", body)
        booked = await _call(session, "POST", f"{url}/transfers", order)
        again = await _call(session, "POST", f"{url}/transfers", order)
        balances = [
            (await _call(session, "GET", f"{url}/accounts/{account}")).body["balance"] for account in (debit, credit)
        ]
    if again.body != booked.body or not again.replayed:
        raise ContradictionError(f"the transfer was answered {booked.body}, and its repetition {again.body}")
    if balances != [9, 1]:
        raise ContradictionError(f"10 and 0, after a transfer of 1, are {balances[0]} and {balances[1]}")
    return Evidence(
        version=_own_version(booked.server),
        detail=f"POST of transfer {str(booked.body['id'])[:8]}..., balances 9 and 1, its repetition answered alike",
    )


async def rates(url: str) -> Evidence:
    """Quote a rate, which goes through broker and cache, and read it."""
    wanted = f"1.{int(nonce()[:8], 16) % 1_000_000:06d}"
    body = {"pair": TEST_PAIR, "rate": wanted, "validForSeconds": 60}
    async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:
        quoted = await _call(session, "POST", f"{url}/rates", body)
        found = await _call(session, "GET", f"{url}/rates/{TEST_PAIR}")
    if found.body["rate"] != wanted:
        raise ContradictionError(f"{TEST_PAIR} was quoted at {wanted} and is read as {found.body['rate']}")
    where = f"{quoted.body['topic']}, partition {quoted.body['partition']}, offset {quoted.body['offset']}"
    return Evidence(version=_own_version(quoted.server), detail=f"POST of a rate (in {where}) and GET of it")


def _own_version(server: str) -> str:
    """``jil-transfers 0.1.0`` from the header ``Server: jil-transfers/0.1.0``."""
    return server.replace("/", " ", 1)
