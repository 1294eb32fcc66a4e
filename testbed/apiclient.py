"""A few lines of Kubernetes API client on the standard library: enough for the rigs and for tests to look around."""

from __future__ import annotations

import http.client
import json
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from testbed.certificates import KeyPair
from testbed.errors import BedError


class ApiError(BedError):
    """The API server answered with an error; ``code`` is the HTTP status, ``body`` the Status object."""

    def __init__(self, method: str, path: str, code: int, body: dict[str, Any]) -> None:
        super().__init__(f"{method} {path}: {code} {body.get('reason', '')}: {body.get('message', body)}")
        self.code = code
        self.body = body


class ApiClient:
    """JSON requests to one API server as one user. One connection per request: right after a restart, always fresh.

    ``url`` is ``https://host:port``; authentication by client certificate or bearer token.
    """

    def __init__(
        self, url: str, ca: Path, pair: KeyPair | None = None, token: str = "", agent: str = "testbed"
    ) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 443
        self._agent, self._token = agent, token
        self._tls = ssl.create_default_context(cafile=str(ca))
        if pair:
            self._tls.load_cert_chain(pair.certificate, pair.key)

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content_type: str = "application/json",
        timeout_s: float = 30.0,
    ) -> dict[str, Any]:
        """One request; returns the parsed JSON answer ({} for an empty one; {"text": …} when it is not JSON).

        Raises ApiError for a status >= 400 and OSError when the server cannot be reached.
        """
        headers = {"Accept": "application/json", "User-Agent": self._agent}
        payload = None
        if body is not None:
            payload = json.dumps(body).encode()
            headers["Content-Type"] = content_type
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        connection = http.client.HTTPSConnection(self._host, self._port, timeout=timeout_s, context=self._tls)
        try:
            connection.request(method, path, payload, headers)
            response = connection.getresponse()
            text = response.read().decode(errors="replace")
        except http.client.HTTPException as problem:
            raise ConnectionError(f"{method} {path}: {problem!r}") from problem
        finally:
            connection.close()
        try:
            answer: dict[str, Any] = json.loads(text) if text.strip() else {}
        except ValueError:
            answer = {"text": text}
        if response.status >= 400:
            raise ApiError(method, path, response.status, answer if isinstance(answer, dict) else {"text": text})
        return answer

    def get(self, path: str) -> dict[str, Any]:
        """GET."""
        return self.request("GET", path)

    def create(self, path: str, body: Any) -> dict[str, Any]:
        """POST one object to a collection."""
        return self.request("POST", path, body)

    def apply(self, path: str, body: Any, manager: str = "testbed", force: bool = True) -> dict[str, Any]:
        """Server-side apply of one object at its own path."""
        query = f"?fieldManager={manager}&force={'true' if force else 'false'}"
        return self.request("PATCH", path + query, body, content_type="application/apply-patch+yaml")

    def merge(self, path: str, body: Any) -> dict[str, Any]:
        """JSON merge patch."""
        return self.request("PATCH", path, body, content_type="application/merge-patch+json")

    def delete(self, path: str) -> dict[str, Any]:
        """DELETE."""
        return self.request("DELETE", path)

    def exists(self, path: str) -> bool:
        """Whether GET finds it."""
        try:
            self.get(path)
        except ApiError as problem:
            if problem.code == 404:
                return False
            raise
        return True
