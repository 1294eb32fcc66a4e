"""Real PostgreSQL and Redis as in a node, started by the product's own image entrypoints.

Both run as an ordinary user on loopback, on ports of their own, with roles and ACL exactly as in a node. Debian
packages: postgresql-15, redis-server. As root this installs what is missing; otherwise it fails and says what
to install.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr

from jil.node.settings import CacheSettings, DatabaseSettings
from testbed.ports import free_ports
from testbed.processes import hold

IMAGES = Path(__file__).parents[3] / "images"
POSTGRESQL_BIN = Path("/usr/lib/postgresql/15/bin")
ORDINARY_UID = 65534  # Debian's nobody
APP_PASSWORD, HEALTH_PASSWORD, CACHE_PASSWORD = "app-s3cret-Xy", "health-s3cret-Xy", "cache-s3cret-Xy"

_POSTGRESQL_CONF = """\
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = '{runtime}'
password_encryption = 'scram-sha-256'
max_connections = 200
fsync = off
timezone = 'UTC'
"""
# As in a node, but for the superuser: the tests come from another user and make a database each.
_PG_HBA_CONF = """\
local all      postgres   trust
host  all      jil_app    127.0.0.1/32 scram-sha-256
host  all      jil_health 127.0.0.1/32 scram-sha-256
"""
_REDIS_CONF = """\
bind 127.0.0.1
port {port}
protected-mode no
appendonly yes
appendfsync everysec
maxmemory 32mb
maxmemory-policy volatile-lru
"""


def _need(package: str, program: str) -> None:
    if shutil.which(program, path=f"{POSTGRESQL_BIN}:{os.environ['PATH']}"):
        return
    if os.geteuid() != 0:
        pytest.fail(f"{program} is missing: install the Debian package {package} (as root: apt-get install {package})")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    command = ["apt-get", "-q", "-o", "DPkg::Lock::Timeout=300", "install", "-y", "--no-install-recommends", package]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    if done.returncode:
        pytest.fail(f"{program} is missing and `{' '.join(command)}` fails: {(done.stderr or done.stdout)[-1500:]}")


class Server:
    """One server process of an ordinary user, with folders of its own; can be stopped, frozen and started again."""

    def __init__(self, name: str, *, config: dict[str, str], credentials: dict[str, str]) -> None:
        self.name = name
        (self.port,) = free_ports(1)
        self.root = Path(tempfile.mkdtemp(prefix=f"jil-{name}-"))
        for folder in ("volume", "run", "etc/config", "etc/credentials"):
            (self.root / folder).mkdir(parents=True)
        for folder, files in (("config", config), ("credentials", credentials)):
            for file, text in files.items():
                text = text.format(port=self.port, runtime=self.root / "run")
                (self.root / "etc" / folder / file).write_text(text)
        # A copy: the ordinary user may not be able to look into the checkout.
        self._entrypoint = self.root / f"jil-{name}"
        shutil.copyfile(IMAGES / name / self._entrypoint.name, self._entrypoint)
        if os.geteuid() == 0:
            for path in (self.root, *self.root.rglob("*")):
                os.chown(path, ORDINARY_UID, ORDINARY_UID)
        # As in the pods: SIGINT is PostgreSQL's fast shutdown.
        self._stop_signal = signal.SIGINT if name == "database" else signal.SIGTERM
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        return self.root / "log"

    def start(self) -> None:
        """Start and wait until it serves."""
        # A test run that is killed must leave no servers behind: they get their stop signal when it dies.
        become = ["setpriv", "--pdeathsig", self._stop_signal.name.removeprefix("SIG")]
        if os.geteuid() == 0:
            become += [f"--reuid={ORDINARY_UID}", f"--regid={ORDINARY_UID}", "--clear-groups"]
        command = [*become, "sh", str(self._entrypoint)]
        environment = {
            "PATH": f"{POSTGRESQL_BIN}:/usr/bin:/bin",
            "HOME": str(self.root),
            "TMPDIR": str(self.root / "run"),
            "JIL_VOLUME": str(self.root / "volume"),
            "JIL_ETC": str(self.root / "etc"),
            "JIL_RUNTIME": str(self.root / "run"),
        }
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, env=environment, cwd=self.root, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise RuntimeError(f"{self.name} does not start: {self.log.read_text()[-3000:]}")
            if self._answers():
                return
            time.sleep(0.05)
        raise RuntimeError(f"{self.name} does not answer after 60 s: {self.log.read_text()[-3000:]}")

    def _answers(self) -> bool:
        if self.name == "database":
            # A port that is open is not enough: the server may still be starting up, and refuse.
            command = [f"{POSTGRESQL_BIN}/pg_isready", "-q", "-t", "5", "-h", f"{self.root}/run", "-p", str(self.port)]
            return subprocess.run(command, env={}, timeout=30).returncode == 0
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5):
                return True
        except OSError:
            return False

    def signal(self, number: int) -> None:
        """Send to the server and its children: PostgreSQL gives every one of them a process group of its own."""
        for pid in self._pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _pids(self) -> list[int]:
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        return [self._process.pid, *map(int, children)]

    def stop(self) -> None:
        if self._process is None:
            return
        self.signal(signal.SIGCONT)
        self._process.send_signal(self._stop_signal)
        try:
            self._process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.signal(signal.SIGKILL)
            self._process.wait(timeout=10)
        self._process = None

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Every process of the server is stopped: connections stand, nothing answers."""
        hold(*self._pids())
        try:
            yield
        finally:
            self.signal(signal.SIGCONT)


@contextlib.contextmanager
def running(server: Server) -> Iterator[Server]:
    """The server for the time of the block; its folders are removed."""
    server.start()
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(server.root, ignore_errors=True)


def database_server() -> Server:
    """A PostgreSQL with the roles and the database of a node, not started yet."""
    _need("postgresql-15", "initdb")
    credentials = {
        "superuser-password": "superuser-s3cret-Xy\n",
        "app-password": APP_PASSWORD + "\n",
        "health-password": HEALTH_PASSWORD + "\n",
    }
    return Server(
        "database",
        config={"postgresql.conf": _POSTGRESQL_CONF, "pg_hba.conf": _PG_HBA_CONF},
        credentials=credentials,
    )


def cache_server() -> Server:
    """A Redis with the ACL of a node, not started yet."""
    _need("redis-server", "redis-server")
    return Server("cache", config={"redis.conf": _REDIS_CONF}, credentials={"cache-password": CACHE_PASSWORD + "\n"})


@dataclass(frozen=True)
class Databases:
    """Settings of one database for the roles of a node, and a way in as superuser."""

    app: DatabaseSettings
    health: DatabaseSettings
    server: Server

    def superuser(self) -> psycopg.Connection[Any]:
        return psycopg.connect(
            host=str(self.server.root / "run"),
            port=self.server.port,
            user="postgres",
            dbname=self.app.name,
            autocommit=True,
        )


def databases_on(server: Server, name: str = "jil") -> Databases:
    """The roles of a node on one server."""
    app = DatabaseSettings(
        host="127.0.0.1", port=server.port, name=name, user="jil_app", password=SecretStr(APP_PASSWORD)
    )
    health = app.model_copy(update={"user": "jil_health", "password": SecretStr(HEALTH_PASSWORD)})
    return Databases(app, health, server)


def cache_settings(server: Server) -> CacheSettings:
    """The node's ACL user on one server."""
    return CacheSettings(host="127.0.0.1", port=server.port, user="jil", password=SecretStr(CACHE_PASSWORD))


def identity_environment(node_id: str = "CH-ZUG-01") -> dict[str, str]:
    """The three unique values of a node."""
    return {"JIL_NODE_ID": node_id, "JIL_REGION": "ch-zug", "JIL_JURISDICTION": "CH/FINMA"}


def database_environment(settings: DatabaseSettings) -> dict[str, str]:
    """What the operator sets for the need `database`."""
    return {
        "JIL_DATABASE_HOST": settings.host,
        "JIL_DATABASE_PORT": str(settings.port),
        "JIL_DATABASE_NAME": settings.name,
        "JIL_DATABASE_USER": settings.user,
        "JIL_DATABASE_PASSWORD": settings.password.get_secret_value(),
    }


def cache_environment(settings: CacheSettings) -> dict[str, str]:
    """What the operator sets for the need `cache`."""
    return {
        "JIL_CACHE_HOST": settings.host,
        "JIL_CACHE_PORT": str(settings.port),
        "JIL_CACHE_USER": settings.user,
        "JIL_CACHE_PASSWORD": settings.password.get_secret_value(),
    }
