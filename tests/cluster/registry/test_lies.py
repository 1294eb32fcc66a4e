"""What a registry can say that is false, too much, or nothing: each ends as RegistryLied or RegistryUnknown, in time."""

from __future__ import annotations

import asyncio
import json

import pytest
from aiohttp import web

from jil.observe.registry import Limits, RegistryClient, RegistryLied, RegistryPush, RegistryUnknown, media
from jil.observe.registry.limits import MIB
from jil.trust.verdict import RefusalReason
from tests.cluster.registry.liar import MANIFEST, Liar

HEX = "0" * 64
# One limit is short at a time, so that a busy machine cannot make the other one speak first.
SILENCE = Limits(read_seconds=0.3)
SLOWNESS = Limits(request_seconds=0.8)


async def lie(liar: Liar, image: str, limits: Limits | None = None) -> RegistryLied:
    async with RegistryClient(liar.access(), limits) as client:
        with pytest.raises(RegistryLied) as caught:
            await client.evidence(image)
    return caught.value


async def unknown(liar: Liar, image: str, limits: Limits | None = None) -> RegistryUnknown:
    async with RegistryClient(liar.access(), limits) as client:
        with pytest.raises(RegistryUnknown) as caught:
            await client.evidence(image)
    return caught.value


async def test_the_honest_twin_of_all_these_is_read(liar: Liar) -> None:
    image = liar.image()
    async with RegistryClient(liar.access()) as client:
        assert (await client.evidence(image)).manifest == MANIFEST


async def test_a_manifest_with_another_digest_is_a_lie(liar: Liar) -> None:
    liar.serve(f"manifests/sha256:{HEX}", MANIFEST, media.OCI_MANIFEST, **{"Docker-Content-Digest": f"sha256:{HEX}"})
    error = await lie(liar, f"{liar.repository}@sha256:{HEX}")
    assert error.reason is RefusalReason.REGISTRY_LIED
    assert f"serves {media.digest_of(MANIFEST)} as sha256:{HEX}" in str(error)


async def test_a_tag_whose_announced_digest_is_not_that_of_its_bytes_is_a_lie(liar: Liar) -> None:
    liar.serve("manifests/v1", MANIFEST, media.OCI_MANIFEST, **{"Docker-Content-Digest": f"sha256:{HEX}"})
    async with RegistryClient(liar.access()) as client:
        with pytest.raises(RegistryLied):
            await client.resolve(f"{liar.repository}:v1")


def attach(liar: Liar, image: str, layers: list[dict[str, object]], subject: str | None = None) -> dict[str, object]:
    """Serve one attachment under its digest; returns its descriptor. The list is the test's."""
    digest = subject or image.partition("@")[2]
    body = json.loads(MANIFEST) | {
        "layers": layers,
        "subject": {"mediaType": media.OCI_MANIFEST, "digest": digest, "size": len(MANIFEST)},
    }
    content = json.dumps(body).encode()
    liar.image(content)
    return {"mediaType": media.OCI_MANIFEST, "digest": media.digest_of(content), "size": len(content)}


def blob(liar: Liar, content: bytes, served: bytes | None = None) -> dict[str, object]:
    """Serve a DSSE blob, or something else in its place; returns its descriptor."""
    digest = media.digest_of(content)
    liar.serve(f"blobs/{digest}", content if served is None else served)
    return {"mediaType": media.DSSE, "digest": digest, "size": len(content)}


def listing(liar: Liar, image: str, entries: list[dict[str, object]], **headers: str) -> None:
    body = json.dumps({"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": entries}).encode()
    liar.serve("referrers/" + image.partition("@")[2], body, media.OCI_INDEX, **headers)


async def test_a_signature_with_other_bytes_is_left_out_and_its_twin_is_read(liar: Liar) -> None:
    image = liar.image()
    listing(liar, image, [attach(liar, image, [blob(liar, b"signed")])])
    async with RegistryClient(liar.access()) as client:
        assert (await client.evidence(image)).envelopes == (b"signed",)
        blob(liar, b"signed", b"forged")
        found = await client.evidence(image)
    assert found.envelopes == ()
    assert [one.reason for one in found.left_out] == [RefusalReason.REGISTRY_LIED]


async def test_an_attachment_whose_blob_is_not_there_spoils_nothing_and_one_that_cannot_be_had_now_is_unknown(
    liar: Liar,
) -> None:
    """Whoever may push could delete a blob and leave its manifest: the image must not stay Unknown for ever."""
    image = liar.image()
    good, gone = attach(liar, image, [blob(liar, b"signed")]), blob(liar, b"gone")
    listing(liar, image, [attach(liar, image, [gone]), good])
    del liar.routes[f"/v2/victim/app/blobs/{gone['digest']}"]
    async with RegistryClient(liar.access()) as client:
        found = await client.evidence(image)
    assert found.envelopes == (b"signed",)
    assert [str(gone["digest"]) in text for text in found.missing] == [True]

    async def fail(_: web.Request) -> web.StreamResponse:
        return web.Response(status=503)

    liar.at(f"blobs/{gone['digest']}", fail)
    assert "fault of its own" in str(await unknown(liar, image))


async def test_what_is_attached_to_another_image_does_not_count(liar: Liar) -> None:
    image = liar.image()
    listing(liar, image, [attach(liar, image, [blob(liar, b"signed")], subject=f"sha256:{HEX}")])
    async with RegistryClient(liar.access()) as client:
        assert (await client.evidence(image)).envelopes == ()


async def test_a_swapped_child_of_an_index_is_a_lie(liar: Liar) -> None:
    child = {"mediaType": media.OCI_MANIFEST, "digest": media.digest_of(MANIFEST), "size": len(MANIFEST)}
    index = json.dumps({"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": [child]}).encode()
    image = liar.image(index, media.OCI_INDEX)
    liar.image()
    async with RegistryClient(liar.access()) as client:
        assert list((await client.evidence(image)).children) == [child["digest"]]
    liar.serve(f"manifests/{child['digest']}", MANIFEST + b" ", media.OCI_MANIFEST)
    assert (await lie(liar, image)).reason is RefusalReason.REGISTRY_LIED


@pytest.mark.parametrize("wrong", [{"size": 1}, {"mediaType": media.DOCKER_MANIFEST}], ids=["size", "media type"])
async def test_a_child_that_is_not_as_the_index_says_is_a_lie(liar: Liar, wrong: dict[str, object]) -> None:
    child = {"mediaType": media.OCI_MANIFEST, "digest": media.digest_of(MANIFEST), "size": len(MANIFEST)} | wrong
    index = json.dumps({"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": [child]}).encode()
    liar.image()
    assert "has another type or size than the index says" in str(await lie(liar, liar.image(index, media.OCI_INDEX)))


@pytest.mark.parametrize(
    ("content", "content_type", "reason"),
    [
        (MANIFEST, "application/vnd.docker.distribution.manifest.v1+prettyjws", RefusalReason.WRONG_MEDIA_TYPE),
        (MANIFEST, "text/html", RefusalReason.WRONG_MEDIA_TYPE),
        (MANIFEST, media.DOCKER_MANIFEST, RefusalReason.WRONG_MEDIA_TYPE),
        (b'{"config":{},"layers":[],"manifests":[]}', media.OCI_MANIFEST, RefusalReason.WRONG_MEDIA_TYPE),
        (b'{"config":{},"layers":[]}', media.OCI_INDEX, RefusalReason.WRONG_MEDIA_TYPE),
        (b'{"config":{},"layers":{}}', media.OCI_MANIFEST, RefusalReason.MALFORMED),
        (b'{"manifests":[{"digest":"sha256:1"}]}', media.OCI_INDEX, RefusalReason.MALFORMED),
        (b'{"config":{},"layers":[],"layers":[]}', media.OCI_MANIFEST, RefusalReason.MALFORMED),
        (b'{"config":' + b"[" * 100_000, media.OCI_MANIFEST, RefusalReason.MALFORMED),
        (b"[]", media.OCI_MANIFEST, RefusalReason.MALFORMED),
        (b"", media.OCI_MANIFEST, RefusalReason.MALFORMED),
    ],
    ids=[
        "schema 1",
        "no manifest",
        "another type inside",
        "image and index at once",
        "image called index",
        "layers no list",
        "no descriptor",
        "a key twice",
        "nested deep",
        "no object",
        "empty",
    ],
)
async def test_what_is_not_plainly_an_image_or_an_index_is_refused(
    liar: Liar, content: bytes, content_type: str, reason: RefusalReason
) -> None:
    assert (await lie(liar, liar.image(content, content_type))).reason is reason


async def test_a_manifest_of_4_mib_is_read_and_one_byte_more_is_refused(liar: Liar) -> None:
    exact = MANIFEST.ljust(4 * MIB)
    async with RegistryClient(liar.access()) as client:
        assert (await client.evidence(liar.image(exact))).manifest == exact
    error = await lie(liar, liar.image(exact + b" "))
    assert error.reason is RefusalReason.TOO_LARGE
    assert "more than the 4194304 bytes" in str(error)


async def test_an_endless_body_is_given_up_at_the_limit(liar: Liar) -> None:
    sent = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse(headers={"Content-Type": media.OCI_MANIFEST})
        response.enable_chunked_encoding()
        await response.prepare(request)
        while True:
            await response.write(bytes(65536))
            sent += 65536

    liar.at(f"manifests/sha256:{HEX}", endless)
    assert (await lie(liar, f"{liar.repository}@sha256:{HEX}")).reason is RefusalReason.TOO_LARGE
    assert sent < 16 * MIB  # what fits into the sockets' buffers on top


async def test_a_compressed_body_is_not_unpacked(liar: Liar) -> None:
    import gzip

    bomb = gzip.compress(bytes(64 * MIB))
    liar.serve(f"manifests/sha256:{HEX}", bomb, media.OCI_MANIFEST, **{"Content-Encoding": "gzip"})
    error = await lie(liar, f"{liar.repository}@sha256:{HEX}")
    assert media.digest_of(bomb) in str(error)


async def test_everything_for_one_image_together_is_bounded(liar: Liar) -> None:
    image = liar.image()
    listing(liar, image, [attach(liar, image, [blob(liar, bytes([n]) * 60_000)]) for n in range(10)])
    limits = Limits(evidence_bytes=500_000)
    error = await lie(liar, image, limits)
    assert error.reason is RefusalReason.TOO_LARGE
    assert "more than 500000 bytes in all" in str(error)


async def test_a_huge_attachment_is_left_out_and_the_small_one_beside_it_is_read(liar: Liar) -> None:
    image = liar.image()
    huge = {"mediaType": media.DSSE, "digest": f"sha256:{HEX}", "size": 10**12}
    listing(liar, image, [attach(liar, image, [huge]), attach(liar, image, [blob(liar, b"signed")])])
    async with RegistryClient(liar.access()) as client:
        assert (await client.evidence(image)).envelopes == (b"signed",)


async def test_an_attachment_with_many_layers_is_left_out_and_an_index_with_many_children_is_refused(
    liar: Liar,
) -> None:
    image = liar.image()
    listing(liar, image, [attach(liar, image, [blob(liar, b"signed")] * 65)])
    async with RegistryClient(liar.access()) as client:
        found = await client.evidence(image)
    assert (found.envelopes, [one.reason for one in found.left_out]) == ((), [RefusalReason.TOO_MANY_SIGNATURES])
    index = json.dumps({"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": _entries(0, 257)}).encode()
    image = liar.image(index, media.OCI_INDEX)
    assert "lists 257 manifests; 256 are allowed" in str(await lie(liar, image))


async def test_a_registry_that_takes_something_else_than_was_pushed_is_told(liar: Liar) -> None:
    async def take(_: web.Request) -> web.StreamResponse:
        return web.Response(status=201, headers={"Docker-Content-Digest": f"sha256:{HEX}"})

    liar.at("manifests/v1", take)
    async with RegistryClient(liar.access()) as client:
        with pytest.raises(RegistryLied, match="the registry took sha256:000"):
            await RegistryPush(client).manifest(f"{liar.repository}:v1", MANIFEST, media.OCI_MANIFEST)


def _entries(first: int, count: int) -> list[dict[str, object]]:
    return [{"mediaType": media.OCI_MANIFEST, "digest": f"sha256:{first + n:064x}", "size": 100} for n in range(count)]


async def test_ten_thousand_referrers_are_refused_without_reading_them(liar: Liar) -> None:
    image = liar.image()
    listing(liar, image, _entries(0, 10_000))
    assert (await lie(liar, image)).reason is RefusalReason.TOO_MANY_SIGNATURES
    assert len(liar.seen) <= 5
    listing(liar, image, _entries(0, 40))  # as many as may be, none of which is there
    async with RegistryClient(liar.access(), Limits(referrers=40)) as client:
        assert (await client.evidence(image)).envelopes == ()


async def test_pages_of_referrers_are_followed_and_the_last_signature_is_found(liar: Liar) -> None:
    image = liar.image()
    last = attach(liar, image, [blob(liar, b"signed")])
    pages = [_entries(0, 100), _entries(100, 100), [last]]
    path = "referrers/" + image.partition("@")[2]

    async def page(request: web.Request) -> web.StreamResponse:
        number = int(request.query.get("page", "0"))
        headers = {"Content-Type": media.OCI_INDEX}
        if number < 2:
            headers["Link"] = f'<http://elsewhere.example/v2/victim/app/{path}?page={number + 1}>; rel="next"'
        return web.Response(body=json.dumps({"manifests": pages[number]}).encode(), headers=headers)

    liar.at(path, page)
    async with RegistryClient(liar.access()) as client:
        assert (await client.evidence(image)).envelopes == (b"signed",)


async def test_a_list_of_referrers_that_never_ends_is_given_up(liar: Liar) -> None:
    image = liar.image()
    digest = image.partition("@")[2]
    listing(liar, image, _entries(0, 2), Link=f'</v2/victim/app/referrers/{digest}?again=1>; rel="next"')
    error = await lie(liar, image)
    assert "more than 32 pages" in str(error)


async def test_a_next_page_of_another_repository_is_a_lie(liar: Liar) -> None:
    image = liar.image()
    listing(liar, image, [], Link=f'</v2/other/app/referrers/sha256:{HEX}>; rel="next"')
    assert "said to be elsewhere" in str(await lie(liar, image))


async def test_a_registry_that_hangs_is_unknown_within_the_time_limit(liar: Liar) -> None:
    async def hang(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(3600)
        raise AssertionError("nobody waits that long")

    liar.at(f"manifests/sha256:{HEX}", hang)
    async with asyncio.timeout(90):
        assert "time-out" in str(await unknown(liar, f"{liar.repository}@sha256:{HEX}", SILENCE))


async def test_a_registry_that_drips_is_unknown_although_it_is_never_silent(liar: Liar) -> None:
    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": media.OCI_MANIFEST, "Content-Length": "4000"})
        await response.prepare(request)
        while True:
            await response.write(b" ")
            await asyncio.sleep(0.05)

    liar.at(f"manifests/sha256:{HEX}", drip)
    async with asyncio.timeout(90):  # it drips for ever
        error = await unknown(liar, f"{liar.repository}@sha256:{HEX}", SLOWNESS)
    assert "did not finish its answer in 0.8 s" in str(error)


async def test_all_requests_for_one_image_together_have_a_time_limit(liar: Liar) -> None:
    image = liar.image()

    async def late(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(1)
        return web.Response(status=404)

    for path in ("referrers/" + image.partition("@")[2], "manifests/" + image.partition("@")[2].replace(":", "-")):
        liar.at(path, late)
    error = await unknown(liar, image, Limits(evidence_seconds=1.5))
    assert "did not give everything in 1.5 s" in str(error)


@pytest.mark.parametrize(
    ("status", "headers", "message", "wait"),
    [
        (429, {"Retry-After": "17"}, "asked too often", 17.0),
        (429, {}, "asked too often", None),
        (429, {"Retry-After": "999999999999"}, "asked too often", 3600.0),
        (503, {"Retry-After": "2"}, "fault of its own", 2.0),
        (500, {}, "fault of its own", None),
        (403, {}, "forbids it", None),
        (401, {}, "without naming a way to log in", None),
        (401, {"WWW-Authenticate": "Negotiate"}, "without naming a way to log in", None),
        (418, {}, "answers 418", None),
        (204, {}, "answers 204", None),
        (302, {}, "answers 302", None),
    ],
)
async def test_every_other_status_is_unknown_and_tells_when_to_come_back(
    liar: Liar, status: int, headers: dict[str, str], message: str, wait: float | None
) -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, headers=headers)

    liar.at(f"manifests/sha256:{HEX}", answer)
    error = await unknown(liar, f"{liar.repository}@sha256:{HEX}")
    assert message in str(error)
    assert error.retry_after == wait


async def test_a_list_of_referrers_that_fails_is_unknown_and_not_unsigned(liar: Liar) -> None:
    """Else whoever can make the list fail could make a signed image look unsigned, or hide a newer attachment."""
    image = liar.image()

    async def fail(_: web.Request) -> web.StreamResponse:
        return web.Response(status=500)

    liar.at("referrers/" + image.partition("@")[2], fail)
    assert "fault of its own" in str(await unknown(liar, image))
