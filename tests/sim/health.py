"""Simulated health endpoints of nodes: one HTTP server on loopback that answers for all of them."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


def healthy(height: int = 42) -> dict[str, Any]:
    """The body of a node that is well; heights rise by one with every reading."""
    part = {"ok": True, "version": "simulated", "error": None}
    return {
        "nodeId": "SIM",
        "database": part,
        "cache": part,
        "broker": part,
        "chain": {
            "ok": True,
            "version": "simulated",
            "error": None,
            "height": height,
            "catchingUp": False,
            "peers": 0,
            "votingPower": 10,
        },
    }


class SimHealth:
    """``url`` is a template with {namespace} and {name}; ``answers[(namespace, name)]`` overrides the healthy answer
    (None: the connection is closed without one)."""

    def __init__(self) -> None:
        self.answers: dict[tuple[str, str], dict[str, Any] | None] = {}
        self._height = 1
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer._height += 1
                namespace, name = self.path.strip("/").split("/")[:2]
                body = outer.answers.get((namespace, name), healthy(outer._height))
                if body is None:
                    self.connection.close()
                    return
                payload = json.dumps(body).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(payload)))
                self.end_headers()
                self.wfile.write(payload)

            def log_message(self, format: str, *args: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, name="sim-health", daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/{{namespace}}/{{name}}"

    def __enter__(self) -> SimHealth:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
