"""Requests and watches of the simulated machines: one session, JSON in and out, refusals as exceptions."""

from __future__ import annotations

import json
from typing import Any

import aiohttp

from testbed.apiclient import ApiClient

SELECTOR = "app.kubernetes.io/managed-by=jil-operator"

Object = dict[str, Any]


class Refused(Exception):
    """The API server answered with an error; ``code`` is the HTTP status."""

    def __init__(self, what: str, code: int, text: str) -> None:
        super().__init__(f"{what}: {code} {text[:200]}")
        self.code = code


class Wire:
    """The API server as the simulated machines reach it; of one event loop."""

    def __init__(self, api: ApiClient, session: aiohttp.ClientSession) -> None:
        self._api = api
        self._session = session

    async def request(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> Object:
        """Raises Refused, and what aiohttp raises."""
        url = f"https://{self._api._host}:{self._api._port}{path}"
        data = json.dumps(body) if body is not None else None
        headers = {"Content-Type": content_type, "User-Agent": "sim-kubelet"}
        timeout = aiohttp.ClientTimeout(total=15)
        async with self._session.request(method, url, data=data, headers=headers, timeout=timeout) as response:
            text = await response.text()
            if response.status >= 400:
                raise Refused(f"{method} {path}", response.status, text)
            answer: Object = json.loads(text)
            return answer

    async def unless(
        self, codes: tuple[int, ...], method: str, path: str, body: Any = None, content_type: str = "application/json"
    ) -> Object | None:
        """As `request`; None when it is refused with one of these codes."""
        try:
            return await self.request(method, path, body, content_type)
        except Refused as error:
            if error.code in codes:
                return None
            raise

    async def watch(self, collection: str, seen: Any) -> None:
        """Tells ``seen`` the list (type None) and then every event, until the watch ends."""
        query = f"labelSelector={SELECTOR.replace('/', '%2F').replace('=', '%3D')}"
        listed = await self.request("GET", f"{collection}?{query}")
        seen(None, listed["items"])
        version = listed["metadata"]["resourceVersion"]
        url = f"https://{self._api._host}:{self._api._port}{collection}?{query}&watch=1&resourceVersion={version}"
        headers = {"User-Agent": "sim-kubelet"}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=300)
        async with self._session.get(url, headers=headers, timeout=timeout) as response:
            if response.status >= 400:
                raise Refused(f"watch {collection}", response.status, await response.text())
            buffer = b""
            async for chunk in response.content.iter_any():
                buffer += chunk
                *lines, buffer = buffer.split(b"\n")
                for line in lines:
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        raise Refused(f"watch {collection}", event["object"].get("code", 0), str(event["object"]))
                    seen(event["type"], [event["object"]])
