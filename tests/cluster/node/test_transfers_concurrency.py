"""The transfer service under concurrent requests, on a real PostgreSQL: nothing lost, nothing doubled, no gaps."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any

from jil.node.events.envelope import Envelope
from tests.cluster.node.harness import Client, balance, open_account, transfer, transfer_once, transfer_service
from tests.cluster.node.servers import Databases

ACCOUNTS = ("a", "b", "c", "d", "e")


def sequences(databases: Databases) -> list[int]:
    with databases.superuser() as connection:
        return [row[0] for row in connection.execute("SELECT sequence FROM events.outbox ORDER BY sequence").fetchall()]


def states_told_by_events(databases: Databases) -> dict[str, int]:
    """What a reader of the events ends up with: per account the balance of its highest version."""
    with databases.superuser() as connection:
        rows = connection.execute("SELECT envelope::text FROM events.outbox ORDER BY random()").fetchall()
    newest: dict[str, dict[str, Any]] = {}
    for row in rows:
        payload: dict[str, Any] = Envelope.model_validate_json(row[0]).payload
        for account in payload.get("accounts", [payload.get("account")]):
            if account["id"] not in newest or newest[account["id"]]["version"] < account["version"]:
                newest[account["id"]] = account
    return {name: account["balance"] for name, account in newest.items()}


async def one_after_another(client: Client, orders: Sequence[tuple[str, str, int, str]]) -> list[int]:
    return [(await transfer(client, *order))[0] for order in orders]


async def test_two_hundred_random_transfers_keep_the_sum_and_no_balance_falls_below_zero(databases: Databases) -> None:
    draw = random.Random(7)
    orders: list[tuple[str, str, int, str]] = []
    for number in range(200):
        debit, credit = draw.sample(ACCOUNTS, 2)
        orders.append((debit, credit, draw.randint(1, 120), f"k{number}"))
    async with transfer_service(databases.app) as one, transfer_service(databases.app) as other:
        for account in ACCOUNTS:
            await open_account(one, account, 100)
        # Two replicas, twenty clients.
        lanes = [one_after_another((one, other)[lane % 2], orders[lane::20]) for lane in range(20)]
        statuses = [status for lane in await asyncio.gather(*lanes) for status in lane]
        balances = {account: await balance(one, account) for account in ACCOUNTS}
    assert set(statuses) == {201, 422}  # booked or without funds; nothing else happened
    assert sum(balances.values()) == 500
    assert min(balances.values()) >= 0
    booked = statuses.count(201)
    assert sequences(databases) == list(range(1, 5 + booked + 1))
    assert states_told_by_events(databases) == balances


async def test_transfers_in_opposite_directions_never_deadlock(databases: Databases) -> None:
    async with transfer_service(databases.app) as client:
        await open_account(client, "a", 1000)
        await open_account(client, "b", 1000)
        there = [transfer(client, "a", "b", 1, f"there{n}") for n in range(40)]
        back = [transfer(client, "b", "a", 1, f"back{n}") for n in range(40)]
        statuses = [status for status, _ in await asyncio.gather(*there, *back)]
        assert statuses == [201] * 80
        assert [await balance(client, name) for name in ("a", "b")] == [1000, 1000]


async def test_one_request_sent_thirty_times_at_once_books_once(databases: Databases) -> None:
    async with transfer_service(databases.app) as one, transfer_service(databases.app) as other:
        await open_account(one, "a", 1000)
        await open_account(one, "b")
        answers = await asyncio.gather(*(transfer((one, other)[n % 2], "a", "b", 10, "same") for n in range(30)))
        assert all(answer == answers[0] for answer in answers)
        assert answers[0][0] == 201
        assert await balance(one, "a") == 990
    assert sequences(databases) == [1, 2, 3]


async def test_one_key_sent_at_once_for_different_amounts_books_one_of_them(databases: Databases) -> None:
    async with transfer_service(databases.app) as client:
        await open_account(client, "a", 1000)
        await open_account(client, "b")
        answers = await asyncio.gather(*(transfer(client, "a", "b", n, "same") for n in range(1, 11)))
        booked = [body["amount"] for status, body in answers if status == 201]
        assert len(booked) == 1
        assert await balance(client, "b") == booked[0]


async def test_an_account_opened_by_many_at_once_is_opened_once(databases: Databases) -> None:
    async with transfer_service(databases.app) as client:
        await asyncio.gather(*(open_account(client, "a", 5) for _ in range(20)))
        assert await balance(client, "a") == 5
    assert sequences(databases) == [1]


async def test_a_transaction_that_is_killed_leaves_no_gap_in_the_sequence(databases: Databases) -> None:
    """A number is taken and then lost: a PostgreSQL sequence would have a hole now."""
    async with transfer_service(databases.app) as client:
        await open_account(client, "a", 1000)
        await open_account(client, "b")
        with databases.superuser() as holder:
            # Holds the last statement of a transfer back, which has its number by then.
            with holder.transaction():
                holder.execute("LOCK TABLE events.outbox IN ACCESS EXCLUSIVE MODE")
                pending = await _waits_for_the_outbox(client, databases)
                holder.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND application_name = 'jil-transfers'"
                )
            status, _ = await pending
        assert status in (201, 503)  # tried once more by the service, or for the client to repeat
        assert (await transfer(client, "a", "b", 1, "k1"))[0] == 201
        assert await balance(client, "a") == 999
    assert sequences(databases) == [1, 2, 3]


async def _waits_for_the_outbox(client: Client, databases: Databases) -> asyncio.Task[tuple[int, dict[str, Any]]]:
    """A transfer that is held back there; one that the service gave up before anybody looked is sent again."""
    pending = asyncio.create_task(transfer_once(client, "a", "b", 1, "k1"))
    with databases.superuser() as connection:
        for _ in range(2000):
            row = connection.execute(
                "SELECT count(*) FROM pg_locks WHERE relation = 'events.outbox'::regclass AND NOT granted"
            ).fetchone()
            if row and row[0]:
                return pending
            if pending.done():
                assert pending.result()[0] == 503, "the outbox is locked"
                pending = asyncio.create_task(transfer_once(client, "a", "b", 1, "k1"))
            await asyncio.sleep(0.02)
    raise AssertionError("no transfer has reached the outbox")
