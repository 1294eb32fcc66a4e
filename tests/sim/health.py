"""Simulated health endpoints of nodes: one HTTP server on loopback that answers for all of them.

The documents have the shape of ``jil.node.health`` (a unit test holds them against its models); what they say comes from
the simulated pods and the simulated chain of the node.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.sim.chain import View

Document = dict[str, Any]

#: The last commits that a node tells of, as the real endpoint does.
WINDOW = 10


def _part(ok: bool, why: str = "") -> Document:
    return {"ok": ok, "version": "simulated" if ok else None, "error": None if ok else why}


def healthy(height: int = 42) -> Document:
    """The body of a node that is well, without a chain behind it: nobody's signatures are known."""
    return {
        "nodeId": "SIM",
        "time": "2026-01-01T00:00:00Z",
        "database": _part(True),
        "cache": _part(True),
        "broker": _part(True),
        "chain": {**_part(True), "height": height, "catchingUp": False, "peers": 0, "votingPower": 10},
    }


def document(components: Mapping[str, bool], chain: tuple[str, View] | None, now: datetime) -> Document:
    """The body of a node. ``components``: component -> whether its pod is ready; those it does not have are missing."""
    body: Document = {"nodeId": "SIM", "time": now.astimezone(UTC).isoformat().replace("+00:00", "Z")}
    for name in ("database", "cache", "broker"):
        body[name] = _part(components.get(name, False), "connection refused")
    if "validator" not in components:
        body["chain"] = None
    elif chain is None:
        body["chain"] = _part(False, "Cannot connect to host: connection refused")
    else:
        body["chain"] = {**_part(True), **_chain(*chain)}
    return body


def _chain(address: str, view: View) -> Document:
    signers = set().union(*(b.signed for b in view.commits)) if view.commits else set()
    known = sorted({*view.powers, *signers})
    index = {one: i for i, one in enumerate(known)}
    return {
        "chainId": view.chain_id,
        "height": view.height,
        "latestBlockTime": datetime.fromtimestamp(view.time, UTC).isoformat().replace("+00:00", "Z"),
        "catchingUp": view.catching_up,
        "peers": view.peers,
        "address": address,
        "votingPower": view.power,
        "peerId": "0" * 40,
        "evidenceError": None if view.height else "the chain has no block yet",
        "evidence": None
        if not view.height
        else {
            "height": view.height,
            "ageSeconds": 0.0,
            "validators": [{"address": one, "power": view.powers.get(one, 0)} for one in known],
            "commits": [
                {"height": b.height, "signed": sorted(index[one] for one in b.signed), "nil": []} for b in view.commits
            ],
        },
    }


_NOTHING: Document = {}


class _Server(ThreadingHTTPServer):
    request_queue_size = 128  # of five, a busy machine lets the sixth poll wait for a second


class SimHealth:
    """``url`` is a template with {namespace} and {name}.

    ``answers[(namespace, name)]`` overrides what the node says (None: the connection is closed without an answer).
    ``source``: (namespace, name) -> the document, None when no health pod runs; without it every node is well.
    """

    def __init__(self, source: Callable[[str, str], Document | None] | None = None) -> None:
        self.answers: dict[tuple[str, str], Document | None] = {}
        self.source = source
        self._height = 1
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                namespace, name = self.path.strip("/").split("/")[:2]
                body = outer.answer(namespace, name)
                if body is None:
                    self.close_connection = True
                    return
                if body.get("nodeId") == "SIM":
                    body = {**body, "nodeId": name.upper()}  # nodes of a simulated world bear their id as name
                payload = json.dumps(body).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(payload)))
                self.end_headers()
                self.wfile.write(payload)

            def log_message(self, format: str, *args: Any) -> None:
                return

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="sim-health", daemon=True)

    def answer(self, namespace: str, name: str) -> Document | None:
        """What the endpoint of a node says now; None: nobody answers."""
        # In one step: a test may take its answer away between two.
        told = self.answers.get((namespace, name), _NOTHING)
        if told is not _NOTHING:
            return told
        if self.source is not None:
            return self.source(namespace, name)
        self._height += 1
        return healthy(self._height)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/{{namespace}}/{{name}}"

    def __enter__(self) -> SimHealth:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
