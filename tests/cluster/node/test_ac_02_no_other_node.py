"""AC-02: no code path on the request side opens a connection to another node.

The service runs as a process of its own whose environment offers it the addresses of another node's broker, cache,
chain and service, each a listener of this test. Three witnesses watch every kind of request: those listeners, Python's
audit events within the process, and the kernel's list of the process's connections (libpq connects in C, which Python
does not see).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp

from tests.cluster.node.harness import program
from tests.cluster.node.servers import Databases, database_environment, identity_environment

_AUDIT = """
def hook(event, args, out=open({path!r}, "a", buffering=1)):
    if event == "socket.connect":
        print("connect", args[1][0], args[1][1], file=out)
    elif event == "socket.getaddrinfo":
        print("lookup", args[0], args[1], file=out)
    elif event in ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.system"):
        print("process", args[0], 0, file=out)
sys.addaudithook(hook)
"""


class OtherNode:
    """A listener that counts who connects."""

    def __init__(self) -> None:
        self.visitors = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                self.visitors += 1
                connection.close()

    def close(self) -> None:
        self._socket.close()


class KernelsView:
    """Samples the remote ends of a process's TCP connections, but for those that clients opened to it."""

    def __init__(self, pid: int, own_port: int) -> None:
        self._pid, self._own_port = pid, own_port
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.seen: set[tuple[str, int]] = set()
        self.samples = 0

    def __enter__(self) -> KernelsView:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.is_set():
            inodes = set()
            for descriptor in Path(f"/proc/{self._pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    target = os.readlink(descriptor)
                    if target.startswith("socket:["):
                        inodes.add(target[8:-1])
            for table in ("tcp", "tcp6"):
                for line in Path(f"/proc/{self._pid}/net/{table}").read_text().splitlines()[1:]:
                    fields = line.split()
                    if fields[9] in inodes and int(fields[1].rpartition(":")[2], 16) != self._own_port:
                        address, _, port = fields[2].rpartition(":")
                        self.seen.add((_ip(address), int(port, 16)))
            self.samples += 1
            time.sleep(0.002)


def _ip(text: str) -> str:
    if len(text) == 8:
        return socket.inet_ntoa(bytes.fromhex(text)[::-1])
    return text


@contextlib.contextmanager
def other_node() -> Iterator[dict[str, OtherNode]]:
    parts = {name: OtherNode() for name in ("broker", "cache", "chain", "service")}
    try:
        yield parts
    finally:
        for part in parts.values():
            part.close()


async def asked(session: aiohttp.ClientSession, method: str, path: str, body: object = None) -> tuple[int, str]:
    """As a client of the service does it: a busy database is told by 503, and the same request is sent again."""
    async with asyncio.timeout(90):
        while True:
            async with session.request(method, path, json=body) as response:
                if response.status != 503:
                    return response.status, await response.text()
            await asyncio.sleep(0.5)


async def every_kind_of_request(url: str) -> None:
    async with aiohttp.ClientSession(url) as session:
        for account, opening in (("a", 1000), ("b", 0)):
            body = {"id": account, "currency": "CHF", "openingBalance": opening}
            assert (await asked(session, "POST", "/accounts", body))[0] in (201, 200)

        at_once = asyncio.Semaphore(10)  # every connection of the pool, and not so many that a busy machine says 503

        async def one(number: int) -> None:
            async with at_once:
                await every_kind(number)

        async def every_kind(number: int) -> None:
            order = {"from": "a", "to": "b", "amount": 1, "idempotencyKey": f"k{number}"}
            status, text = await asked(session, "POST", "/transfers", order)
            assert status in (201, 200), text
            booked = json.loads(text)
            for path in (f"/transfers/{booked['id']}", "/accounts/a", "/healthz", "/readyz", "/metrics"):
                assert (await asked(session, "GET", path))[0] == 200
            assert (await asked(session, "POST", "/transfers", order | {"amount": 5000}))[0] == 422
            assert (await asked(session, "GET", "/accounts/unknown"))[0] == 404

        await asyncio.gather(*(one(number) for number in range(40)))


async def test_ac_02_a_request_opens_no_connection_but_to_the_nodes_own_database(
    databases: Databases, tmp_path: Path
) -> None:
    audit = tmp_path / "audit"
    with other_node() as other:
        offered = {
            "JIL_BROKER_SEEDS": f"127.0.0.1:{other['broker'].port}",
            "REDPANDA_SEEDS": f"127.0.0.1:{other['broker'].port}",
            "JIL_CACHE_HOST": "127.0.0.1",
            "JIL_CACHE_PORT": str(other["cache"].port),
            "JIL_RPC_URL": f"http://127.0.0.1:{other['chain'].port}",
            "JIL_TRANSFERS_URL": f"http://127.0.0.1:{other['service'].port}",
            "HTTP_PROXY": f"http://127.0.0.1:{other['service'].port}",
        }
        environment = identity_environment() | database_environment(databases.app) | offered
        prelude = _AUDIT.format(path=str(audit)).strip()
        with program("jil.node.transfers", environment, prelude="\n" + prelude) as service:
            with KernelsView(service.process.pid, service.port) as kernel:
                await service.until("/readyz")
                await every_kind_of_request(service.url)
            service.process.terminate()
            assert service.end()[0] == 0
        database = ("127.0.0.1", databases.app.port)
        assert kernel.samples > 20
        assert kernel.seen - {("0.0.0.0", 0)} == {database}, "the kernel saw another connection"
        assert {name: part.visitors for name, part in other.items()} == dict.fromkeys(other, 0)
    # libpq connects in C: within Python nothing at all may connect, look a name up or start a process.
    assert audit.read_text() == ""


async def test_ac_02_the_witnesses_notice_a_connection_to_another_node(databases: Databases, tmp_path: Path) -> None:
    """The proof above is worth something only if a program that does connect is caught by all three."""
    audit = tmp_path / "audit"
    with other_node() as other:
        port = other["broker"].port
        betrayal = f"import socket, threading, time\nkept = socket.create_connection(('127.0.0.1', {port}))"
        environment = identity_environment() | database_environment(databases.app)
        prelude = "\n" + _AUDIT.format(path=str(audit)).strip() + "\n" + betrayal
        with (
            program("jil.node.transfers", environment, prelude=prelude) as service,
            KernelsView(service.process.pid, service.port) as kernel,
        ):
            await service.until("/readyz")
        assert ("127.0.0.1", port) in kernel.seen
        deadline = time.monotonic() + 60
        while not other["broker"].visitors and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        assert other["broker"].visitors == 1
    assert f"connect 127.0.0.1 {port}" in audit.read_text()
