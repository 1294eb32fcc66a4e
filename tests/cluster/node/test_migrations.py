"""Schema migrations on a real PostgreSQL."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
import sqlalchemy.exc
from pydantic import SecretStr

from jil.node import migration
from jil.node.settings import DatabaseSettings
from jil.node.transfers import schema
from tests.cluster.node.servers import Databases

NEWEST = {"events": "events_0001", "ledger": "ledger_0001"}


def upgrade(settings: DatabaseSettings) -> dict[str, str]:
    return dict(schema.upgrade(settings, application="test"))


def tables(databases: Databases) -> set[str]:
    with databases.superuser() as connection:
        rows = connection.execute(
            "SELECT table_schema || '.' || table_name FROM information_schema.tables "
            "WHERE table_schema IN ('events', 'ledger', 'public')"
        ).fetchall()
    return {row[0] for row in rows}


def test_an_empty_database_is_brought_to_the_newest_revision(databases: Databases) -> None:
    assert upgrade(databases.app) == NEWEST
    assert tables(databases) == {
        "events.alembic_version",
        "events.outbox",
        "events.sources",
        "ledger.accounts",
        "ledger.alembic_version",
        "ledger.answers",
        "ledger.transfers",
    }


def test_migrating_twice_changes_nothing(databases: Databases) -> None:
    upgrade(databases.app)
    with databases.superuser() as connection:
        before = connection.execute("SELECT max(xmin::text::bigint) FROM pg_class").fetchone()
        assert upgrade(databases.app) == NEWEST
        assert connection.execute("SELECT max(xmin::text::bigint) FROM pg_class").fetchone() == before


def test_ten_programs_that_start_together_migrate_one_after_the_other(databases: Databases) -> None:
    with ThreadPoolExecutor(10) as threads:
        results = list(threads.map(lambda _: upgrade(databases.app), range(10)))
    assert results == [NEWEST] * 10


def test_a_database_that_a_newer_program_has_migrated_is_served_as_it_is(databases: Databases) -> None:
    upgrade(databases.app)
    with databases.superuser() as connection:
        connection.execute("UPDATE ledger.alembic_version SET version_num = 'ledger_9999'")
    assert upgrade(databases.app) == {"events": "events_0001", "ledger": "ledger_9999"}


def test_a_failing_migration_leaves_nothing_behind(databases: Databases, tmp_path: Any) -> None:
    folder = tmp_path / "migrations"
    (folder / "versions").mkdir(parents=True)
    (folder / "env.py").write_text("from jil.node.migration import run_environment\nrun_environment('broken')\n")
    (folder / "versions" / "v1.py").write_text(
        "from alembic import op\nrevision = 'b_1'\ndown_revision = None\n"
        "def upgrade():\n    op.execute('CREATE TABLE broken.half (id int)')\n    op.execute('SELECT 1 / 0')\n"
    )
    with pytest.raises(sqlalchemy.exc.DataError, match="division by zero"):
        migration.upgrade(databases.app, [migration.Migrations("broken", folder)], application="test")
    with databases.superuser() as connection:
        assert connection.execute("SELECT to_regclass('broken.half')").fetchone() == (None,)


def test_a_migration_does_not_queue_behind_a_long_transaction(
    databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits for a table lock makes all later readers wait too; so it gives up soon and tries again."""
    monkeypatch.setattr(migration, "TABLE_LOCK_SECONDS", 0.2)
    upgrade(databases.app)
    with databases.superuser() as holder, holder.transaction():
        holder.execute("LOCK TABLE events.alembic_version IN ACCESS EXCLUSIVE MODE")
        # That it gives up is seen here: the lock is held until it has.
        with pytest.raises(sqlalchemy.exc.OperationalError, match="lock timeout"):
            upgrade(databases.app)


async def test_the_program_waits_for_a_database_that_is_not_there_yet(databases: Databases) -> None:
    absent = databases.app.model_copy(update={"port": 1})
    pauses: list[float] = []
    targets = iter([absent, absent, databases.app])

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    target = schema.Schema(lambda: upgrade(next(targets)), sleep=pause)
    assert not target.ready
    await target.prepare()
    assert target.ready
    assert target.revisions == NEWEST
    assert pauses == [0.5, 1.0]


async def test_a_wrong_password_is_reported_without_the_password(databases: Databases) -> None:
    wrong = databases.app.model_copy(update={"password": SecretStr("not-the-password")})
    tried = threading.Event()

    async def pause(_: float) -> None:
        tried.set()
        await asyncio.Event().wait()

    target = schema.Schema(lambda: upgrade(wrong), sleep=pause)
    task = asyncio.create_task(target.prepare())
    async with asyncio.timeout(90):
        while not tried.is_set():
            await asyncio.sleep(0.01)
    task.cancel()
    assert target.error is not None
    assert "password authentication failed" in target.error
    assert "not-the-password" not in target.error


def test_balances_below_zero_are_refused_by_the_database_itself(databases: Databases) -> None:
    upgrade(databases.app)
    with databases.superuser() as connection, pytest.raises(psycopg.errors.CheckViolation):
        connection.execute("INSERT INTO ledger.accounts VALUES ('a', 'CHF', 0, -1, 1, now())")
