"""Fixtures for the services of a node: PostgreSQL and Redis, shared or for one test alone."""

from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import Iterator

import pytest

from jil.node.settings import CacheSettings
from tests.cluster.node.servers import (
    CACHE_PASSWORD,
    Databases,
    Server,
    cache_server,
    cache_settings,
    database_server,
    databases_on,
    running,
)


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[Server]:
    """The PostgreSQL that most tests share."""
    with running(database_server()) as server:
        yield server


@pytest.fixture
def own_postgresql_server() -> Iterator[Server]:
    """A PostgreSQL for one test, which may stop or freeze it."""
    with running(database_server()) as server:
        yield server


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Server]:
    """The Redis that most tests share."""
    with running(cache_server()) as server:
        yield server


@pytest.fixture
def own_redis_server() -> Iterator[Server]:
    """A Redis for one test, which may stop or freeze it."""
    with running(cache_server()) as server:
        yield server


_numbers = itertools.count(1)


@pytest.fixture
def databases(postgresql_server: Server) -> Databases:
    """An empty database of its own for every test, owned by jil_app as in a node."""
    name = f"test_{next(_numbers)}"
    with databases_on(postgresql_server, "postgres").superuser() as connection:
        connection.execute(f'CREATE DATABASE "{name}" OWNER jil_app')
        connection.execute(f'REVOKE CONNECT ON DATABASE "{name}" FROM public')
        connection.execute(f'GRANT CONNECT ON DATABASE "{name}" TO jil_health')
    return databases_on(postgresql_server, name)


@pytest.fixture
def cache(redis_server: Server) -> CacheSettings:
    """The shared Redis, emptied."""
    settings = cache_settings(redis_server)
    subprocess.run(
        ["redis-cli", "-p", str(redis_server.port), "--user", "jil", "--no-auth-warning", "FLUSHALL"],
        env=os.environ | {"REDISCLI_AUTH": CACHE_PASSWORD},
        check=True,
        capture_output=True,
        timeout=60,
    )
    return settings
