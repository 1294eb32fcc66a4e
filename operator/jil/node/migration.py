"""Schema migrations with alembic, run by the program itself at its start, by one at a time.

Rules for whoever adds one:
- Each service owns one PostgreSQL schema of the node's database, and its alembic_version lives in it.
- Expand, then contract: a migration only adds (tables, nullable columns, columns with a constant default, indexes).
  What an old version of the program still uses may be removed three releases later, because a release can be rolled
  back to any of the two before it and the images roll back alone. So there is no downgrade.
- A database that is newer than the program (after a rollback) is therefore fine: the program logs it and serves.
- Short locks: a migration that waits for a table makes everybody else wait behind it, so ``lock_timeout`` ends it after
  a few seconds and it is tried again.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from alembic import command, context
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, create_engine, text
from sqlalchemy.pool import NullPool

from jil.node.connect.database import connection_arguments
from jil.node.settings import DatabaseSettings

log = logging.getLogger(__name__)

#: Key of the advisory lock: one migrating program per database. ("jilmigr" in ASCII; any constant would do.)
LOCK_KEY = 0x6A696C6D696772
#: How long to wait for another program's migration before giving up until the next attempt.
TURN_SECONDS = 60
TABLE_LOCK_SECONDS = 3


class MigrationError(Exception):
    """The schema is not what the program needs and could not be made so."""


@dataclass(frozen=True)
class Migrations:
    """A chain of migrations: the PostgreSQL schema it owns and the folder with env.py and versions/."""

    schema: str
    folder: Path


def upgrade(settings: DatabaseSettings, chains: Sequence[Migrations], *, application: str) -> dict[str, str]:
    """Bring every chain to its head and return schema -> revision. Blocks: call it in a thread.

    Raises sqlalchemy.exc.SQLAlchemyError when the database does not answer or a lock is not to be had.
    """
    arguments = connection_arguments(settings, application=f"{application}-migration")
    url = URL.create("postgresql+psycopg", database=arguments.pop("dbname"))
    engine = create_engine(url, connect_args=arguments, poolclass=NullPool)
    with engine.connect() as connection:
        connection.execute(text(f"SET lock_timeout = '{TURN_SECONDS}s'"))
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": LOCK_KEY})
        connection.execute(text(f"SET lock_timeout = '{TABLE_LOCK_SECONDS}s'"))
        connection.commit()
        # The lock belongs to the session and ends with the connection, also when this program is killed.
        return {chain.schema: _upgrade_one(connection, chain) for chain in chains}


def _upgrade_one(connection: Connection, chain: Migrations) -> str:
    config = Config()
    config.set_main_option("script_location", str(chain.folder).replace("%", "%%"))
    config.attributes["connection"] = connection
    scripts = ScriptDirectory.from_config(config)
    known = {script.revision for script in scripts.walk_revisions()}
    connection.execute(text(f'CREATE SCHEMA IF NOT EXISTS "{chain.schema}"'))
    connection.commit()
    before = current_revision(connection, chain.schema)
    connection.rollback()
    if before is not None and before not in known:
        log.warning(
            "schema %s is at revision %s, which a newer version of this program made; serving on it",
            chain.schema,
            before,
        )
        return before
    command.upgrade(config, "head")
    after = current_revision(connection, chain.schema)
    connection.rollback()
    if after is None:
        raise MigrationError(f"schema {chain.schema} has no revision after its migration; folder {chain.folder}")
    if after != before:
        log.info("schema %s migrated from %s to %s", chain.schema, before or "nothing", after)
    return after


def current_revision(connection: Connection, schema: str) -> str | None:
    """Revision of the schema, None before its first migration."""
    return MigrationContext.configure(connection, opts={"version_table_schema": schema}).get_current_revision()


def run_environment(schema: str) -> None:
    """The body of every env.py: run the migrations of ``schema``, each in a transaction of its own."""
    connection = context.config.attributes["connection"]
    context.configure(
        connection=connection,
        version_table_schema=schema,
        transaction_per_migration=True,
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.run_migrations()
