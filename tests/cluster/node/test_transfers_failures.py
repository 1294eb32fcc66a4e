"""The transfer service when its database fails, on real servers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import aiohttp
import pytest

from jil.node.transfers import ledger
from tests.cluster.node.harness import (
    Client,
    balance,
    open_account,
    program,
    transfer,
    transfer_once,
    transfer_service,
)
from tests.cluster.node.servers import (
    APP_PASSWORD,
    Databases,
    Server,
    database_environment,
    databases_on,
    identity_environment,
)


@pytest.fixture
async def client_with_two_accounts(databases: Databases) -> AsyncIterator[Client]:
    async with transfer_service(databases.app) as client:
        await open_account(client, "a", 1000)
        await open_account(client, "b")
        yield client


async def test_connections_that_the_database_has_closed_are_not_noticed_by_clients(
    databases: Databases, client_with_two_accounts: Client
) -> None:
    client = client_with_two_accounts
    assert await asyncio.gather(*(balance(client, "a") for _ in range(30))) == [1000] * 30  # fills the pool
    with databases.superuser() as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'jil-transfers'"
        )
    assert (await transfer(client, "a", "b", 1, "k1"))[0] == 201
    assert await asyncio.gather(*(balance(client, "a") for _ in range(30))) == [999] * 30


async def test_a_lock_that_is_not_to_be_had_ends_in_503_and_changes_nothing(
    databases: Databases, client_with_two_accounts: Client
) -> None:
    client = client_with_two_accounts
    with databases.superuser() as holder, holder.transaction():
        holder.execute("SELECT 1 FROM ledger.accounts WHERE id = 'b' FOR UPDATE")
        started = time.monotonic()
        async with client.post(
            "/transfers", json={"from": "a", "to": "b", "amount": 1, "idempotencyKey": "k1"}
        ) as response:
            problem = await response.json(content_type="application/problem+json")
            assert (response.status, response.headers["Retry-After"]) == (503, "1")
        # That it ends at all is seen here: the lock is held until it has.
        assert time.monotonic() - started >= ledger.LOCK_SECONDS
        assert "nothing was changed" in problem["detail"]
    assert (await transfer(client, "a", "b", 1, "k1"))[0] == 201


async def test_a_frozen_database_ends_in_503_and_the_repeated_request_takes_effect_once(
    own_postgresql_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No answer and no closed connection: the worst kind of failure, and one that cancelling does not end."""
    databases = databases_on(own_postgresql_server)
    async with transfer_service(databases.app) as client:
        await open_account(client, "a", 1000)
        await open_account(client, "b")
        with own_postgresql_server.frozen(), monkeypatch.context() as patched:
            patched.setattr(ledger, "TRANSACTION_SECONDS", 0.5)
            status, problem = await asyncio.wait_for(transfer_once(client, "a", "b", 1, "k1"), 60)
            assert status == 503, "while it is frozen: nobody waits until it thaws"
            assert problem["remedy"]
            async with client.get("/livez") as response:
                assert response.status == 200
        deadline = time.monotonic() + 90
        while (status := (await transfer_once(client, "a", "b", 1, "k1"))[0]) != 201:
            assert (status, time.monotonic() < deadline) == (503, True)
            await asyncio.sleep(0.1)
        assert await balance(client, "a") == 999


async def test_a_restarted_database_is_found_again(own_postgresql_server: Server) -> None:
    databases = databases_on(own_postgresql_server)
    environment = identity_environment() | database_environment(databases.app)
    with program("jil.node.transfers", environment) as service:
        await service.until("/readyz")
        own_postgresql_server.stop()
        reasons = await service.until("/readyz", 503)
        assert "database: " in reasons
        own_postgresql_server.start()
        await service.until("/readyz")


async def test_the_program_starts_before_its_database_and_becomes_ready_when_it_comes(
    own_postgresql_server: Server,
) -> None:
    own_postgresql_server.stop()
    databases = databases_on(own_postgresql_server)
    environment = identity_environment() | database_environment(databases.app)
    with program("jil.node.transfers", environment) as service:
        await service.until("/livez")
        await service.until("/healthz", 503)
        own_postgresql_server.start()
        await service.until("/readyz")
        service.process.terminate()
        code, out, err = service.end()
    assert code == 0
    assert APP_PASSWORD not in out + err
    assert "draining" in err


async def test_a_request_under_way_at_sigterm_is_answered_and_new_ones_are_not_accepted(databases: Databases) -> None:
    # Long enough for one look at /readyz while it drains, on a machine that is slow.
    environment = identity_environment() | database_environment(databases.app) | {"JIL_DRAIN_SECONDS": "2.5"}
    with program("jil.node.transfers", environment) as service:
        await service.until("/readyz")
        async with aiohttp.ClientSession(service.url) as session:
            for account, opening in (("a", 10), ("b", 0)):
                body = {"id": account, "currency": "CHF", "openingBalance": opening}
                async with session.post("/accounts", json=body) as response:
                    assert response.status == 201
            with databases.superuser() as holder:
                with holder.transaction():
                    holder.execute("SELECT 1 FROM ledger.accounts WHERE id = 'b' FOR UPDATE")
                    order = {"from": "a", "to": "b", "amount": 1, "idempotencyKey": "k"}
                    pending = asyncio.create_task(session.post("/transfers", json=order))
                    await _until_somebody_waits_for_a_row(databases)
                    service.process.terminate()
                    assert await service.until("/readyz", 503) == "shutting down\n"
                    await _until_refused(service.port)
                async with await pending as response:
                    # 503: this machine was slower than the service's patience for a lock; it is an answer all the same.
                    assert response.status in (201, 503)
        assert service.end()[0] == 0


async def _until_somebody_waits_for_a_row(databases: Databases) -> None:
    with databases.superuser() as connection:
        for _ in range(1000):
            row = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            ).fetchone()
            if row and row[0]:
                return
            await asyncio.sleep(0.02)
    raise AssertionError("the transfer does not wait for the account")


async def _until_refused(port: int) -> None:
    for _ in range(1000):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            return
        writer.close()
        await asyncio.sleep(0.02)
    raise AssertionError("the program that stops still accepts connections")


async def test_a_missing_variable_is_named_with_its_remedy() -> None:
    with program("jil.node.transfers", identity_environment()) as service:
        code, _, err = service.end()
    assert code == 2
    assert "environment variable JIL_DATABASE_HOST is not set" in err
    assert "`needs` in the JILRelease include `database`" in err
    assert "Traceback" not in err
