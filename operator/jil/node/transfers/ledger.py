"""Accounts and transfers in the node's PostgreSQL: each request is one transaction.

Locks are taken in one order by everybody, so there are no deadlocks: the idempotency key, the two accounts by id, and
last the node's event sequence (see ``events.outbox``). A second request with the same key waits for the first and then
gets its answer. Refusals are remembered like bookings: a key stands for one attempt with one outcome.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import UUID, uuid4

import psycopg
from psycopg import errors
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout, TooManyRequests

from jil.node.connect.database import answered_within
from jil.node.events.envelope import Classification, EventDraft
from jil.node.events.outbox import Outbox
from jil.node.monitor import describe
from jil.node.problem import Problem, unavailable
from jil.node.transfers.model import Account, OpenAccount, Transfer, TransferRequest
from jil.node.transfers.rules import Booking, Policy, decide

log = logging.getLogger(__name__)

#: Time for a free connection, for the server's part of one statement and of one lock, and for a whole transaction.
CONNECTION_SECONDS = 2.0
STATEMENT_SECONDS = 5
LOCK_SECONDS = 3
TRANSACTION_SECONDS = 8.0
#: A lost connection is tried again only when it was found out this quickly.
RETRY_WITHIN_SECONDS = 1.0
#: Requests that wait for a connection beyond this are refused at once.
MAX_WAITING = 200

#: For ``options`` of each connection: the server enforces these even when this program no longer can.
SESSION_OPTIONS = (
    f"-c statement_timeout={STATEMENT_SECONDS}s -c lock_timeout={LOCK_SECONDS}s "
    "-c idle_in_transaction_session_timeout=15s -c default_transaction_isolation=read\\ committed"
)

Pool = AsyncConnectionPool[psycopg.AsyncConnection[Any]]
Value = TypeVar("Value")

_CLAIM = """
INSERT INTO ledger.answers (idempotency_key, request_sha256, answered_at) VALUES (%s, %s, %s)
ON CONFLICT DO NOTHING
"""
_REMEMBERED = "SELECT request_sha256, status, body::text FROM ledger.answers WHERE idempotency_key = %s"
_REMEMBER = "UPDATE ledger.answers SET status = %s, body = %s WHERE idempotency_key = %s"
_LOCK = """
SELECT id, currency, balance, version FROM ledger.accounts WHERE id = ANY(%s) ORDER BY id FOR NO KEY UPDATE
"""
_BOOK = """
UPDATE ledger.accounts AS a SET balance = new.balance, version = new.version
FROM (VALUES (%s, %s::bigint, %s::bigint), (%s, %s::bigint, %s::bigint)) AS new (id, balance, version)
WHERE a.id = new.id
"""
_INSERT_TRANSFER = """
INSERT INTO ledger.transfers (id, from_account, to_account, amount, currency, booked_at)
VALUES (%s, %s, %s, %s, %s, %s)
"""
_OPEN = """
INSERT INTO ledger.accounts (id, currency, opening_balance, balance, version, opened_at)
VALUES (%s, %s, %s, %s, 1, %s) ON CONFLICT DO NOTHING
"""


@dataclass(frozen=True)
class Answer:
    """What is sent back for a transfer: the JSON text, the same on every repetition."""

    status: int
    body: str
    replayed: bool = False


def _now() -> datetime:
    return datetime.now(UTC)


class Ledger:
    """All methods raise Problem: 503 when the database does not answer in time or is too busy."""

    def __init__(
        self,
        pool: Pool,
        outbox: Outbox,
        *,
        now: Callable[[], datetime] = _now,
        new_id: Callable[[], UUID] = uuid4,
    ) -> None:
        self._pool = pool
        self._outbox = outbox
        self._now = now
        self._new_id = new_id

    # -- accounts ----------------------------------------------------------------------------------------------------
    async def open_account(self, request: OpenAccount, *, correlation_id: str) -> tuple[Account, bool]:
        """The account and whether this call opened it. Opening it again the same way changes nothing.

        Raises Problem 409 when the account exists with another currency or opening balance.
        """

        async def work(connection: psycopg.AsyncConnection[Any]) -> tuple[Account, bool]:
            opened = await connection.execute(
                _OPEN,
                (request.id, request.currency, request.opening_balance, request.opening_balance, self._now()),
            )
            if not opened.rowcount:
                return await self._opened_before(connection, request), False
            account = Account(id=request.id, currency=request.currency, balance=request.opening_balance, version=1)
            await self._outbox.append(
                connection,
                EventDraft(
                    entity_key=f"account/{account.id}",
                    entity_version=account.version,
                    classification=Classification.GLOBAL,
                    correlation_id=correlation_id,
                    payload={"type": "account.opened", "account": _wire(account)},
                ),
            )
            return account, True

        return await self._run(work)

    async def _opened_before(self, connection: psycopg.AsyncConnection[Any], request: OpenAccount) -> Account:
        cursor = await connection.execute(
            "SELECT id, currency, balance, version, opening_balance FROM ledger.accounts WHERE id = %s", (request.id,)
        )
        row = await cursor.fetchone()
        assert row is not None  # noqa: S101  accounts are never deleted
        if (row[1], row[4]) != (request.currency, request.opening_balance):
            raise Problem(
                409,
                "account-exists",
                "The account exists and was opened differently",
                detail=f"account {request.id} was opened in {row[1]} with an opening balance of {row[4]}",
                remedy="choose another id, or repeat the request as it was sent the first time",
            )
        return _account(row)

    async def account(self, account_id: str) -> Account | None:
        """The account as it is now, None when there is none."""

        async def work(connection: psycopg.AsyncConnection[Any]) -> Account | None:
            cursor = await connection.execute(
                "SELECT id, currency, balance, version FROM ledger.accounts WHERE id = %s", (account_id,)
            )
            row = await cursor.fetchone()
            return _account(row) if row is not None else None

        return await self._run(work)

    # -- transfers ---------------------------------------------------------------------------------------------------
    async def transfer(self, request: TransferRequest, *, policy: Policy, correlation_id: str) -> Answer:
        """Book the transfer, or refuse it, or give the answer that this key got before.

        Raises Problem 422 when the key was used for another request.
        """

        async def work(connection: psycopg.AsyncConnection[Any]) -> Answer:
            claimed = await connection.execute(_CLAIM, (request.idempotency_key, request.digest(), self._now()))
            if not claimed.rowcount:
                return await self._remembered(connection, request)
            cursor = await connection.execute(_LOCK, ([request.from_account, request.to_account],))
            accounts = {row[0]: _account(row) for row in await cursor.fetchall()}
            decision = decide(request, accounts, policy)
            if isinstance(decision, Problem):
                answer = Answer(decision.status, json.dumps(decision.body()))
                await connection.execute(_REMEMBER, (answer.status, answer.body, request.idempotency_key))
                return answer
            return await self._book(connection, request, decision, correlation_id)

        return await self._run(work)

    async def _book(
        self,
        connection: psycopg.AsyncConnection[Any],
        request: TransferRequest,
        booking: Booking,
        correlation_id: str,
    ) -> Answer:
        debited, credited = booking.debited, booking.credited
        transfer = Transfer(
            id=self._new_id(),
            from_account=debited.id,
            to_account=credited.id,
            amount=request.amount,
            currency=debited.currency,
            booked_at=self._now(),
        )
        answer = Answer(201, transfer.model_dump_json(by_alias=True))
        await connection.execute(
            _BOOK,
            (debited.id, debited.balance, debited.version, credited.id, credited.balance, credited.version),
        )
        await connection.execute(
            _INSERT_TRANSFER,
            (transfer.id, debited.id, credited.id, transfer.amount, transfer.currency, transfer.booked_at),
        )
        await connection.execute(_REMEMBER, (answer.status, answer.body, request.idempotency_key))
        await self._outbox.append(
            connection,
            EventDraft(
                entity_key=f"transfer/{transfer.id}",
                entity_version=1,
                classification=Classification.GLOBAL,
                correlation_id=correlation_id,
                payload={
                    "type": "transfer.booked",
                    "transfer": _wire(transfer),
                    "accounts": [_wire(debited), _wire(credited)],
                },
            ),
        )
        return answer

    async def _remembered(self, connection: psycopg.AsyncConnection[Any], request: TransferRequest) -> Answer:
        cursor = await connection.execute(_REMEMBERED, (request.idempotency_key,))
        row = await cursor.fetchone()
        assert row is not None  # noqa: S101  answers are never deleted
        if bytes(row[0]) != request.digest():
            raise Problem(
                422,
                "idempotency-key-reused",
                "The idempotencyKey was used for another request",
                detail="the first request with this key asked for something else",
                remedy="use a new idempotencyKey for a new request, and the same one only to repeat the same request",
            )
        return Answer(row[1], row[2], replayed=True)

    async def find(self, transfer_id: UUID) -> Transfer | None:
        """A booked transfer, None when there is none."""

        async def work(connection: psycopg.AsyncConnection[Any]) -> Transfer | None:
            cursor = await connection.execute(
                "SELECT id, from_account, to_account, amount, currency, booked_at FROM ledger.transfers WHERE id = %s",
                (transfer_id,),
            )
            row = await cursor.fetchone()
            if row is None:
                return None
            return Transfer(
                id=row[0], from_account=row[1], to_account=row[2], amount=row[3], currency=row[4], booked_at=row[5]
            )

        return await self._run(work)

    # -- transactions ------------------------------------------------------------------------------------------------
    async def _run(self, work: Callable[[psycopg.AsyncConnection[Any]], Awaitable[Value]]) -> Value:
        """Run ``work`` in one transaction; once more when the connection turns out to be dead at once (the database
        was restarted). That is safe also when the first commit went through: keys make every write repeatable."""
        started = time.monotonic()
        try:
            try:
                async with self._transaction() as connection:
                    return await work(connection)
            except psycopg.OperationalError as error:
                if not _connection_lost(error) or time.monotonic() - started > RETRY_WITHIN_SECONDS:
                    raise
                log.warning("the database connection was lost, trying once more: %s", describe(error))
                await self._pool.drain()
                async with self._transaction() as connection:
                    return await work(connection)
        except (errors.LockNotAvailable, errors.QueryCanceled, errors.DeadlockDetected, TooManyRequests) as error:
            raise unavailable(
                "database",
                f"too busy: {describe(error)}; nothing was changed",
                retry_after=1,
            ) from error
        except PoolTimeout as error:
            raise unavailable(
                "database", f"no connection within {CONNECTION_SECONDS:g} s; nothing was changed"
            ) from error
        except PoolClosed as error:
            raise unavailable("database", "the service is stopping; nothing was changed") from error
        except psycopg.OperationalError as error:
            raise unavailable(
                "database",
                f"the connection was lost, so it is not known whether the request took effect: {describe(error)}",
                remedy="repeat the same request with the same idempotencyKey: it takes effect once at the most",
            ) from error

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        async with self._pool.connection(timeout=CONNECTION_SECONDS) as connection:
            with answered_within(connection, TRANSACTION_SECONDS):
                async with connection.transaction():
                    yield connection


def _connection_lost(error: psycopg.OperationalError) -> bool:
    """Whether the connection is gone, as opposed to a statement that the server refused (which has an SQLSTATE)."""
    if isinstance(error, PoolTimeout | PoolClosed | TooManyRequests):
        return False
    return error.sqlstate is None or isinstance(error, errors.AdminShutdown | errors.CrashShutdown)


def _account(row: Any) -> Account:
    return Account(id=row[0], currency=row[1], balance=row[2], version=row[3])


def _wire(part: Account | Transfer) -> dict[str, Any]:
    return part.model_dump(mode="json", by_alias=True)
