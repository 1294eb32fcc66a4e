"""The HTTP side against a real local server: what is sent, what is not, and what comes of the answers."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest
from aiohttp import web

from jil.api import kinds
from jil.cluster import context
from jil.cluster.access import Access, Credentials
from jil.cluster.client import KubeClient
from jil.cluster.connection import Connection
from jil.cluster.errors import Forbidden, NotFound, ServerUnavailable, TooManyRequests
from testbed.certificates import Authority
from tests.unit.cluster.http_server import CONFIG_MAP, Handler, Server, closed, serving, status


async def test_writes_are_strict_named_and_bound_in_time_on_the_server_too() -> None:
    server = Server()
    async with serving(server) as connection:
        client = KubeClient(connection, fence=lambda: None)
        with context.reconciling("JILNode y/n", "abcd1234"):
            await client.apply(kinds.CONFIG_MAP, CONFIG_MAP)
    (request,) = server.requests
    assert request["query"] == {
        "fieldManager": "jil-operator",
        "fieldValidation": "Strict",
        "force": "true",
        "timeout": "1s",
    }
    assert request["type"] == "application/apply-patch+yaml"
    assert request["agent"].endswith("reconcile/abcd1234")
    assert request["agent"].startswith("jil-operator/")


async def test_retry_after_reaches_the_caller() -> None:
    server = Server()
    server.reply = status(429, "TooManyRequests")
    async with serving(server) as connection:
        with pytest.raises(TooManyRequests) as caught:
            await KubeClient(connection, fence=lambda: None).get(kinds.CONFIG_MAP, "x", "y")
    assert caught.value.retry_after == 4.0


async def test_an_answer_that_is_no_status_object_still_makes_a_readable_error() -> None:
    server = Server()

    async def proxy(_: web.Request) -> web.Response:
        return web.Response(status=502, text="<html>bad gateway</html>")

    server.reply = proxy
    async with serving(server) as connection:
        with pytest.raises(ServerUnavailable, match="bad gateway"):
            await KubeClient(connection, fence=lambda: None).get(kinds.CONFIG_MAP, "x", "y")


async def test_no_answer_in_time_is_server_unavailable() -> None:
    server = Server()

    async def sleepy(_: web.Request) -> web.Response:
        await asyncio.sleep(30)
        return web.Response()

    server.reply = sleepy
    async with serving(server) as connection:
        with pytest.raises(ServerUnavailable, match=r"no answer in 0\.3 s"):
            await KubeClient(connection, fence=lambda: None).create(kinds.CONFIG_MAP, CONFIG_MAP)


async def test_nobody_listening_is_server_unavailable() -> None:
    connection = Connection(Credentials(Access("http://127.0.0.1:1")))
    with pytest.raises(ServerUnavailable, match="NoConnection"):
        await KubeClient(connection, fence=lambda: None).get(kinds.CONFIG_MAP, "x", "y")
    await connection.close()


async def test_severing_breaks_off_what_is_under_way_and_the_next_request_works() -> None:
    server = Server()
    arrived = asyncio.Event()

    async def sleepy(_: web.Request) -> web.Response:
        arrived.set()
        await asyncio.sleep(30)
        return web.Response()

    server.reply = sleepy
    async with serving(server) as connection:
        client = KubeClient(connection, fence=lambda: None)
        under_way = asyncio.create_task(client.create(kinds.CONFIG_MAP, CONFIG_MAP))
        await arrived.wait()
        connection.sever()
        with pytest.raises(ServerUnavailable):
            await under_way
        server.reply = server.echo
        assert await client.get(kinds.CONFIG_MAP, "x", "y")


async def test_a_rotated_token_is_read_again_after_a_401(tmp_path: Path) -> None:
    server, file = Server(), tmp_path / "token"
    file.write_text("old")

    async def only_new(request: web.Request) -> web.StreamResponse:
        if request.headers["Authorization"] != "Bearer new":
            return await status(401, "Unauthorized")(request)
        return await server.echo(request)

    server.reply = server.echo
    async with serving(server, token_file=file) as connection:
        client = KubeClient(connection, fence=lambda: None)
        await client.get(kinds.CONFIG_MAP, "x", "y")
        server.reply = only_new
        file.write_text("new\n")
        await client.create(kinds.CONFIG_MAP, CONFIG_MAP)
        file.write_text("wrong")
        connection.credentials._token = "wrong"
        with pytest.raises(Forbidden):
            await client.get(kinds.CONFIG_MAP, "x", "y")


async def test_lists_are_read_page_by_page_and_items_know_their_type() -> None:
    server = Server()

    async def pages(request: web.Request) -> web.Response:
        token = request.query.get("continue")
        metadata = {"resourceVersion": "9"} | ({} if token else {"continue": "next"})
        return web.json_response({"metadata": metadata, "items": [{"metadata": {"name": f"n-{token}"}}]})

    server.reply = pages
    async with serving(server) as connection:
        listing = await KubeClient(connection, fence=closed).list(kinds.CONFIG_MAP, "y", label_selector="a=b", limit=1)
    assert [item["metadata"]["name"] for item in listing.items] == ["n-None", "n-next"]
    assert {item["kind"] for item in listing.items} == {"ConfigMap"}
    assert listing.resource_version == "9"
    assert [request["query"].get("labelSelector") for request in server.requests] == ["a=b", "a=b"]


async def test_a_list_whose_continue_token_expired_begins_again_in_one_piece() -> None:
    server = Server()

    async def expires(request: web.Request) -> web.StreamResponse:
        if "continue" in request.query:
            return await status(410, "Expired")(request)
        token = {"continue": "old"} if "limit" in request.query else {}
        return web.json_response({"metadata": {"resourceVersion": "9"} | token, "items": []})

    server.reply = expires
    async with serving(server) as connection:
        listing = await KubeClient(connection, fence=closed).list(kinds.CONFIG_MAP)
    assert listing.resource_version == "9"
    assert ["limit" in request["query"] for request in server.requests] == [True, True, False]


async def _plain_404(_: web.Request) -> web.Response:
    return web.Response(status=404, text="404 page not found")


@pytest.mark.parametrize(
    "reply",
    [
        # What an API server answers whose CRD is missing or not served (yet), and what a proxy in between answers.
        status(404, "NotFound", message="the server could not find the requested resource", details={}),
        status(404, "NotFound", details={"name": "another", "kind": "jilnodes"}),
        status(404, "NotFound"),
        _plain_404,
    ],
)
async def test_i2_a_404_that_does_not_name_the_object_is_no_proof_that_it_is_gone(reply: Handler) -> None:
    server = Server()
    server.reply = reply
    async with serving(server) as connection:
        with pytest.raises(ServerUnavailable, match="no proof that JILNode ch-1 is gone") as raised:
            await KubeClient(connection, fence=closed).get(kinds.JIL_NODE, "ch-1", "jil-ch-finma")
        assert raised.value.status == 404
        server.reply = status(404, "NotFound", details={"name": "ch-1", "group": "jil.io", "kind": "jilnodes"})
        with pytest.raises(NotFound):
            await KubeClient(connection, fence=closed).get(kinds.JIL_NODE, "ch-1", "jil-ch-finma")


async def test_every_request_is_counted_with_its_answer() -> None:
    server, seen = Server(), []
    async with serving(server) as connection:
        connection._observe = lambda method, code, seconds: seen.append((method, code, seconds >= 0))
        client = KubeClient(connection, fence=lambda: None)
        await client.get(kinds.CONFIG_MAP, "x", "y")
        server.reply = status(404, "NotFound", details={"name": "x", "kind": "configmaps"})
        with pytest.raises(NotFound):
            await client.get(kinds.CONFIG_MAP, "x", "y")
    assert seen == [("GET", 200, True), ("GET", 404, True)]


async def test_a_replaced_ca_file_is_read_again_when_the_server_shows_another_certificate(tmp_path: Path) -> None:
    first, second = Authority(tmp_path / "first", "first"), Authority(tmp_path / "second", "second")
    shown = first.server("server", ["IP:127.0.0.1"])
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(shown.certificate, shown.key)
    file = tmp_path / "ca.crt"
    file.write_bytes(second.pair.certificate.read_bytes())
    server = Server()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    connection = Connection(Credentials(Access(f"https://127.0.0.1:{runner.addresses[0][1]}", ca_file=file)))
    client = KubeClient(connection, fence=lambda: None)
    try:
        with pytest.raises(ServerUnavailable, match="WrongCertificate"):
            await client.create(kinds.CONFIG_MAP, CONFIG_MAP)
        file.write_bytes(first.pair.certificate.read_bytes())
        await client.create(kinds.CONFIG_MAP, CONFIG_MAP)
        assert len(server.requests) == 1
    finally:
        await connection.close()
        await runner.cleanup()
