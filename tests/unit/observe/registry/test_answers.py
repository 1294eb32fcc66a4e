"""Headers of answers, limits and redirects of https, without a network."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime

import httpx2
import pytest

from jil.observe.registry import (
    Access,
    ClientCertificate,
    Credential,
    Credentials,
    RegistryClient,
    RegistryUnknown,
    media,
)
from jil.observe.registry.challenge import Challenge, parse
from jil.observe.registry.exchange import retry_after

NOW = datetime(2026, 11, 21, 18, 0, tzinfo=UTC)
IMAGE = "r.example/app:v1"
MANIFEST = b'{"config":{},"layers":[]}'


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("17", 17.0),
        (" 0 ", 0.0),
        ("9" * 400, 3600.0),
        ("Sat, 21 Nov 2026 18:01:00 GMT", 60.0),
        ("Sat, 21 Nov 2026 17:00:00 GMT", 0.0),
        ("Sat, 21 Nov 2099 17:00:00 GMT", 3600.0),
        ("-5", None),
        ("soon", None),
        ("", None),
        ("١٢", None),
        ("Sat, 21 Nov 2026 18:01:00", None),
        ("Sat, 21 Nov 99999999999 18:01:00 GMT", None),
        ("Sat, 21 Nov 2026 99999999999:01:00 GMT", None),
        ("Sat, 21 Nov 2026 18:01:00 +99999999999", None),
        ("Sat, 21 Nov 2026 18:01:00 " + "+" + "9" * 5000, None),
        ("Fri, 31 Dec 9999 23:59:59 -2359", 3600.0),
        ("Mon, 01 Jan 0001 00:00:00 +2359", 0.0),
    ],
)
def test_retry_after_is_a_number_or_a_date_and_at_most_an_hour(text: str, seconds: float | None) -> None:
    assert retry_after({"retry-after": text}, NOW) == seconds


@pytest.mark.parametrize(
    ("headers", "challenges"),
    [
        (['Basic realm="x, y"'], [("basic", {"realm": "x, y"})]),
        (
            ['Bearer realm="https://a/t",service="r",scope="repository:a:pull,push"'],
            [("bearer", {"realm": "https://a/t", "service": "r", "scope": "repository:a:pull,push"})],
        ),
        (["Negotiate, Basic realm=x"], [("negotiate", {}), ("basic", {"realm": "x"})]),
        (["Negotiate", 'BEARER Realm="a\\"b"'], [("negotiate", {}), ("bearer", {"realm": 'a"b'})]),
        (['Bearer realm="one",realm="two"'], [("bearer", {"realm": "one"})]),
        (['Bearer realm="never closed'], [("bearer", {})]),
        (["", "=", ",,,"], []),
        (["Basic " + "a=b," * 100_000], [("basic", {"a": "b"})]),
    ],
)
def test_challenges_are_read_as_rfc_9110_writes_them(
    headers: list[str], challenges: list[tuple[str, dict[str, str]]]
) -> None:
    assert list(parse(headers)) == [Challenge(*one) for one in challenges]


def client(handler: Callable[[httpx2.Request], httpx2.Response], access: Access | None = None) -> RegistryClient:
    def streamed(request: httpx2.Request) -> httpx2.Response:
        made = handler(request)
        content = made.content

        async def chunks() -> AsyncIterator[bytes]:
            yield content

        return httpx2.Response(made.status_code, headers=made.headers, content=chunks())

    return RegistryClient(access, transport=httpx2.MockTransport(streamed))


async def test_a_redirect_from_https_to_http_is_not_followed() -> None:
    def handler(request: httpx2.Request) -> httpx2.Response:
        assert request.url.scheme == "https"
        return httpx2.Response(302, headers={"Location": "http://r.example/elsewhere"})

    async with client(handler) as reader:
        with pytest.raises(RegistryUnknown, match=r"from https to http://r\.example/elsewhere"):
            await reader.manifest(f"r.example/app@sha256:{'0' * 64}")


async def test_a_registry_with_tls_does_not_send_us_to_a_token_server_without() -> None:
    def handler(request: httpx2.Request) -> httpx2.Response:
        assert request.url.path != "/token"
        return httpx2.Response(401, headers={"WWW-Authenticate": 'Bearer realm="http://r.example/token"'})

    async with client(handler, Access(Credentials({"r.example": Credential("u", "p")}))) as reader:
        with pytest.raises(RegistryUnknown, match="wanted is an https URL"):
            await reader.resolve(IMAGE)


async def test_a_refresh_token_is_traded_for_a_token_and_never_sent_to_the_registry() -> None:
    seen: list[tuple[str, str, str]] = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        seen.append((request.method, request.url.path, request.headers.get("authorization", "")))
        if request.url.path == "/token":
            assert b"refresh_token=hunter2" in request.content
            assert b"scope=repository%3Aapp%3Apull" in request.content
            return httpx2.Response(200, json={"access_token": "fresh", "expires_in": 300})
        if request.headers.get("authorization") != "Bearer fresh":
            return httpx2.Response(401, headers={"WWW-Authenticate": 'Bearer realm="https://r.example/token"'})
        return httpx2.Response(200, content=MANIFEST, headers={"Content-Type": media.OCI_MANIFEST})

    access = Access(Credentials({"r.example": Credential(identity_token="hunter2")}))
    async with client(handler, access) as reader:
        assert await reader.resolve(IMAGE) == media.digest_of(MANIFEST)
    assert [one[:2] for one in seen] == [("GET", "/v2/app/manifests/v1"), ("POST", "/token"), ("GET", seen[0][1])]
    assert not any("hunter2" in one[2] for one in seen)


async def test_an_image_without_tag_or_digest_is_a_question_back() -> None:
    async with client(lambda _: httpx2.Response(500)) as reader:
        with pytest.raises(ValueError, match=r"give a tag, r\.example/app:TAG"):
            await reader.resolve("r.example/app")
        with pytest.raises(ValueError, match="has no digest"):
            await reader.evidence(IMAGE)


async def test_environment_proxies_and_netrc_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """They belong to whoever started the process, and would see every credential or add another."""
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with RegistryClient() as reader:
        assert all(not one._mounts for one in (reader.wire._plain, reader.wire._certified))


async def test_the_client_certificate_is_for_its_hosts_and_ends_where_a_redirect_leaves_them() -> None:
    """Which of the two connections is used; the handshake itself is tested on a real registry."""
    seen: list[tuple[str, str]] = []

    def shown_by(name: str) -> httpx2.MockTransport:
        def handler(request: httpx2.Request) -> httpx2.Response:
            seen.append((name, str(request.url.host)))
            if request.url.host != "cdn.example":
                return httpx2.Response(307, headers={"Location": "https://cdn.example/x"}, stream=_Nothing())
            return httpx2.Response(404, stream=_Nothing())

        return httpx2.MockTransport(handler)

    async with client(lambda _: httpx2.Response(500)) as reader:
        wire = reader.wire
        wire.access = Access(certificate=ClientCertificate(b"", b"", frozenset({"r.example"})))
        wire._certified = httpx2.AsyncClient(transport=shown_by("certified"))
        wire._plain = httpx2.AsyncClient(transport=shown_by("plain"))
        for host in ("r.example", "other.example"):
            with pytest.raises(RegistryUnknown):
                await reader.manifest(f"{host}/app@sha256:{'0' * 64}")
    assert seen == [
        ("certified", "r.example"),
        ("plain", "cdn.example"),
        ("plain", "other.example"),
        ("plain", "cdn.example"),
    ]


class _Nothing(httpx2.AsyncByteStream):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b""
