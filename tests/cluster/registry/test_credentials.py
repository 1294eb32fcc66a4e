"""Who gets to see a credential: its own registry and the token server that may, and nobody by way of a redirect or a log."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from pathlib import Path

import pytest
from aiohttp import web

from jil.observe.registry import (
    Credential,
    Credentials,
    NotInRegistry,
    RegistryClient,
    RegistryError,
    RegistryPush,
    RegistryUnknown,
    media,
)
from tests.cluster.registry import rig
from tests.cluster.registry.liar import MANIFEST, Liar
from tests.cluster.registry.tokens import TokenServer

SECRET = "s3cr3t-of-the-pull"
BASIC = "Basic " + base64.b64encode(f"node:{SECRET}".encode()).decode()


def credentials(liar: Liar) -> Credentials:
    return Credentials({liar.host: Credential("node", SECRET)})


def wants_basic(liar: Liar, path: str, then: web.Response) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        if request.headers.get("Authorization") != BASIC:
            return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="x"'})
        return web.Response(status=then.status, body=then.body, headers=then.headers)

    liar.at(path, handler)


async def test_a_redirect_to_another_host_is_followed_without_the_credentials(liar: Liar, other: Liar) -> None:
    digest = media.digest_of(MANIFEST)
    elsewhere = f"http://{other.host}/storage/object?X-Signature=abc"
    wants_basic(liar, f"manifests/{digest}", web.Response(status=307, headers={"Location": elsewhere}))
    other.serve("/storage/object", MANIFEST, media.OCI_MANIFEST)
    async with RegistryClient(liar.access(credentials=credentials(liar))) as client:
        found = await client.manifest(f"{liar.repository}@{digest}")
    assert found.content == MANIFEST
    assert BASIC in liar.authorizations()
    assert other.authorizations() == [None]


async def test_credentials_do_not_come_back_after_a_redirect_through_another_host(liar: Liar, other: Liar) -> None:
    digest = media.digest_of(MANIFEST)
    wants_basic(liar, f"manifests/{digest}", web.Response(status=307, headers={"Location": f"http://{other.host}/a"}))
    there = f"http://{liar.host}/back"
    other.at("/a", lambda _: _response(web.Response(status=307, headers={"Location": there})))
    liar.serve("/back", MANIFEST, media.OCI_MANIFEST)
    async with RegistryClient(liar.access(credentials=credentials(liar))) as client:
        await client.manifest(f"{liar.repository}@{digest}")
    assert liar.authorizations() == [None, BASIC, None]


async def test_a_redirect_to_another_host_with_other_bytes_is_a_lie(liar: Liar, other: Liar) -> None:
    digest = media.digest_of(MANIFEST)
    where = f"http://{other.host}/object"
    liar.at(f"manifests/{digest}", lambda _: _response(web.Response(status=302, headers={"Location": where})))
    other.serve("/object", MANIFEST + b" ", media.OCI_MANIFEST)
    async with RegistryClient(liar.access()) as client:
        with pytest.raises(RegistryError, match="the registry serves sha256:"):
            await client.manifest(f"{liar.repository}@{digest}")


@pytest.mark.parametrize("location", ["http://OTHER/upload", "//OTHER/upload", "http://u:p@LIAR/upload", ""])
async def test_an_upload_is_not_sent_to_another_server(liar: Liar, other: Liar, location: str) -> None:
    where = location.replace("OTHER", other.host).replace("LIAR", liar.host)
    taken = web.Response(status=202, headers={"Location": where} if where else {})
    wants_basic(liar, "blobs/uploads/", taken)
    async with RegistryClient(liar.access(credentials=credentials(liar))) as client:
        with pytest.raises(RegistryUnknown):
            await RegistryPush(client).blob(liar.repository, b"x", "text/plain")
    assert other.seen == []
    assert "PUT" not in [request.method for request in liar.seen if request.path == "/upload"]


async def test_a_push_is_not_redirected(liar: Liar, other: Liar) -> None:
    where = f"http://{other.host}/"
    liar.at("manifests/v1", lambda _: _response(web.Response(status=307, headers={"Location": where})))
    async with RegistryClient(liar.access(credentials=credentials(liar))) as client:
        with pytest.raises(RegistryUnknown, match="redirects a PUT"):
            await RegistryPush(client).manifest(f"{liar.repository}:v1", MANIFEST, media.OCI_MANIFEST)
    assert other.seen == []


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("http://OTHER/v2/victim/app/manifests/v1", "redirects to another server"),
        ("/v2/victim/app/manifests/v1", "redirects more than 3 times"),
        ("http://user:password@OTHER/", "without user information"),
        ("ftp://OTHER/", "is not asked"),
        ("http://[::1", "no URL"),
    ],
)
async def test_a_tag_is_not_resolved_by_way_of_a_strange_redirect(
    liar: Liar, other: Liar, location: str, message: str
) -> None:
    where = location.replace("OTHER", other.host)
    liar.at("manifests/v1", lambda _: _response(web.Response(status=302, headers={"Location": where})))
    async with RegistryClient(liar.access(credentials=credentials(liar))) as client:
        with pytest.raises(RegistryUnknown, match=message) as caught:
            await client.resolve(f"{liar.repository}:v1")
    assert other.seen == []
    assert "user:password" not in str(caught.value)


async def test_a_token_server_of_another_host_does_not_get_the_credentials(liar: Liar, other: Liar) -> None:
    challenge = f'Bearer realm="http://{other.host}/token",service="x"'
    liar.at("manifests/v1", lambda _: _response(web.Response(status=401, headers={"WWW-Authenticate": challenge})))
    other.serve("/token", b'{"token":"t"}', "application/json")
    image = f"{liar.repository}:v1"
    async with RegistryClient(liar.access(credentials=credentials(liar))) as client:
        with pytest.raises(RegistryUnknown, match="not allowed to see the credentials"):
            await client.resolve(image)
    assert other.seen == []
    # Its twin: the same server, allowed by whoever owns the credential.
    access = liar.access(credentials=credentials(liar), token_hosts=frozenset({other.host}))
    async with RegistryClient(access) as client:
        with pytest.raises(RegistryUnknown, match="does not accept the credentials"):
            await client.resolve(image)
    assert other.authorizations() == [BASIC]
    # And without a credential there is nothing to protect.
    async with RegistryClient(liar.access()) as client:
        with pytest.raises(RegistryUnknown):
            await client.resolve(image)
    assert other.authorizations() == [BASIC, None]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (web.Response(status=401), "refuses the credentials"),
        (web.Response(status=500), "answers 500"),
        (web.Response(status=307, headers={"Location": "http://OTHER/"}), "redirects a GET"),
        (web.Response(body=b"{}"), "no usable token"),
        (web.Response(body=b"[]"), "no usable token"),
        (web.Response(body=b'{"token":"a b\\r\\nX: y"}'), "no usable token"),
        (web.Response(body=b'{"token":"' + b"a" * 100_000 + b'"}'), "more than the 65536 bytes"),
    ],
    ids=["refused", "broken", "redirect", "empty", "no object", "header injection", "huge"],
)
async def test_a_token_server_that_gives_no_token_is_an_error(
    liar: Liar, other: Liar, answer: web.Response, message: str
) -> None:
    challenge = f'Bearer realm="http://{liar.host}/token"'
    liar.at("manifests/v1", lambda _: _response(web.Response(status=401, headers={"WWW-Authenticate": challenge})))
    headers = {name: value.replace("OTHER", other.host) for name, value in answer.headers.items()}
    liar.at("/token", lambda _: _response(web.Response(status=answer.status, body=answer.body, headers=headers)))
    async with RegistryClient(liar.access(credentials=credentials(liar))) as client:
        with pytest.raises(RegistryError, match=message):
            await client.resolve(f"{liar.repository}:v1")
    assert other.seen == []


async def test_no_secret_reaches_a_log_or_an_error_when_the_registry_echoes_it(
    liar: Liar, caplog: pytest.LogCaptureFixture
) -> None:
    """A registry can put what it was sent into statuses, bodies, headers and redirects."""
    caplog.set_level(logging.DEBUG)
    texts = []

    async def echo(request: web.Request) -> web.StreamResponse:
        got = request.headers.get("Authorization", "")
        if not got:
            return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="x"'})
        kind = request.path.rsplit("/", 1)[1]
        body = json.dumps({"errors": [{"code": got, "message": got}]}).encode()
        location = {"Location": f"http://{liar.host}/x?{got.replace(' ', '+')}#{got.replace(' ', '+')}"}
        return {
            "status": web.Response(status=403, reason=got, body=body),
            "redirect": web.Response(status=302, headers=location),
            "challenge": web.Response(status=401, headers={"WWW-Authenticate": f'Bearer realm="{got}"'}),
        }[kind]

    async with RegistryClient(liar.access(credentials=credentials(liar))) as client:
        for kind in ("status", "redirect", "challenge"):
            liar.at(f"manifests/{kind}", echo)
            with pytest.raises(RegistryError) as caught:
                await client.resolve(f"{liar.repository}:{kind}")
            texts.append(str(caught.value))
    assert BASIC in liar.authorizations()
    everything = "\n".join([*texts, caplog.text])
    assert SECRET not in everything
    assert BASIC.split()[1] not in everything


async def test_credentials_do_not_show_themselves(liar: Liar) -> None:
    access = liar.access(credentials=credentials(liar))
    assert SECRET not in repr(access) + repr(credentials(liar).find(liar.host, "x"))


async def _response(response: web.Response) -> web.StreamResponse:
    return web.Response(status=response.status, body=response.body, headers=response.headers)


async def test_the_real_registry_takes_the_tokens_of_its_token_server(tmp_path: Path) -> None:
    async with TokenServer(tmp_path / "tokens", "node", SECRET) as tokens:
        with rig.distribution(tmp_path, token_realm=tokens.realm, token_ca=tokens.ca) as registry:
            access = tokens.access(registry)
            async with RegistryClient(access) as client:
                push, repository = RegistryPush(client), registry.repository()
                image = f"{repository}@{await rig.push_image(push, repository)}"
                assert tokens.scopes == [f"repository:{image.split('/', 1)[1].partition('@')[0]}:pull,push"]
                await asyncio.gather(*(client.evidence(image) for _ in range(5)))
                assert tokens.scopes[1:] == [tokens.scopes[0].removesuffix(",push")]  # one token for all of them
                tokens.lifetime = 1
                other = registry.repository()
                for _ in range(2):
                    with pytest.raises(NotInRegistry):
                        await client.resolve(f"{other}:v1")
                    await asyncio.sleep(1)  # longer than the token is used
                # It was renewed; once more where the answer to one of our requests took longer than its life.
                assert len(tokens.scopes) >= 4
                assert set(tokens.scopes[2:]) == {f"repository:{other.split('/', 1)[1]}:pull"}
            tokens.password = "changed"
            async with RegistryClient(access) as client:
                with pytest.raises(RegistryUnknown, match="refuses the credentials"):
                    await client.evidence(image)
