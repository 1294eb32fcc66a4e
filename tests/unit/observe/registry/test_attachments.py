"""What is broken among the attachments of an image is left out, and what is good beside it is read."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2
import pytest

from jil.observe.registry import Access, Limits, RegistryClient, RegistryLied, media
from jil.trust.evidence import Evidence
from jil.trust.verdict import RefusalReason

IMAGE = json.dumps({"mediaType": media.OCI_MANIFEST, "config": {}, "layers": []}).encode()
DIGEST = media.digest_of(IMAGE)
TAG = DIGEST.replace(":", "-")
Entry = dict[str, Any]


class Server:
    """A registry without the referrers API: what is attached stands under tags."""

    def __init__(self) -> None:
        self.things: dict[str, tuple[bytes, str]] = {}
        self.serve(f"manifests/{DIGEST}", IMAGE)

    def serve(self, path: str, content: bytes, kind: str = media.OCI_MANIFEST) -> None:
        self.things[path] = (content, kind)

    def blob(self, content: bytes, kind: str = media.DSSE, **changes: Any) -> Entry:
        """Serves it; its descriptor, with ``changes``."""
        digest = media.digest_of(content)
        self.serve(f"blobs/{digest}", content)
        return {"mediaType": kind, "digest": digest, "size": len(content)} | changes

    def attachment(self, layers: Any, kind: str = media.OCI_MANIFEST, **changes: Any) -> Entry:
        """Serves an attachment of the image; its descriptor."""
        body = {"config": {}, "layers": layers, "subject": {"digest": DIGEST}} | changes
        content = json.dumps({name: value for name, value in body.items() if value is not ...}).encode()
        digest = media.digest_of(content)
        self.serve(f"manifests/{digest}", content, kind)
        return {"mediaType": media.OCI_MANIFEST, "digest": digest, "size": len(content)}

    def index(self, entries: list[Any]) -> None:
        self.serve(f"manifests/{TAG}", json.dumps({"manifests": entries}).encode(), media.OCI_INDEX)

    async def read(self, limits: Limits | None = None) -> Evidence:
        """What the client makes of it."""

        def answer(request: httpx2.Request) -> httpx2.Response:
            found = self.things.get(request.url.path.removeprefix("/v2/app/"))
            if found is None:
                return httpx2.Response(404, content=_Bytes(b""))
            return httpx2.Response(200, headers={"Content-Type": found[1]}, content=_Bytes(found[0]))

        async with RegistryClient(_OneContext(), limits, transport=httpx2.MockTransport(answer)) as client:
            return await client.evidence(f"r.example/app@{DIGEST}")


class _OneContext(Access):
    """Nothing is encrypted here, and reading the system's certificates takes longer than all the rest."""

    _context = ssl.create_default_context()

    def tls(self, *, with_certificate: bool) -> ssl.SSLContext:
        return self._context


class _Bytes(httpx2.AsyncByteStream):
    def __init__(self, content: bytes) -> None:
        self.content = content

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self.content


def swapped(server: Server) -> Entry:
    """Other bytes than the digest says."""
    layer = server.blob(b"broken")
    server.serve(f"blobs/{layer['digest']}", b"forged")
    return server.attachment([layer])


def other_manifest(server: Server) -> Entry:
    """An attachment whose bytes are not those of its digest."""
    entry = server.attachment([])
    server.serve(f"manifests/{entry['digest']}", IMAGE)
    return entry


BROKEN: dict[str, Callable[[Server], Any]] = {
    "65 layers": lambda server: server.attachment([server.blob(b"broken")] * 65),
    "a size that is one too small": lambda server: server.attachment([server.blob(b"broken", size=5)]),
    "a size that is one too large": lambda server: server.attachment([server.blob(b"broken", size=7)]),
    "an index that is listed as an image": lambda server: server.attachment(
        ..., media.OCI_INDEX, manifests=[], config=...
    ),
    "a layer that is no descriptor": lambda server: server.attachment([{"digest": "sha512:00"}]),
    "layers that are no list": lambda server: server.attachment({}),
    "other bytes of a blob": swapped,
    "other bytes of a manifest": other_manifest,
    "an entry that is no descriptor": lambda _: {"mediaType": media.OCI_MANIFEST, "digest": "sha512:00", "size": 1},
    "an entry that is no object": lambda _: 5,
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("first", [True, False])
async def test_a_broken_attachment_does_not_spoil_the_good_one_beside_it(name: str, first: bool) -> None:
    server = Server()
    entries = [BROKEN[name](server), server.attachment([server.blob(b"signed")])]
    server.index(entries if first else entries[::-1])
    found = await server.read()
    assert found.envelopes == (b"signed",)
    assert len(found.left_out) == 1


async def test_a_broken_layer_does_not_spoil_the_good_one_beside_it() -> None:
    server = Server()
    note = {"annotations": {media.COSIGN_SIGNATURE: "c2ln"}}
    simple = [server.blob(text, media.SIMPLE_SIGNING, **note) for text in (b"one", b"two", b"three")]
    simple[1]["size"] += 1
    server.attachment(simple)
    server.serve(f"manifests/{TAG}.sig", json.dumps({"config": {}, "layers": simple}).encode())
    both = [server.blob(b"broken", size=5), server.blob(b"provenance")]
    server.serve(f"manifests/{TAG}.att", json.dumps({"config": {}, "layers": both}).encode())
    found = await server.read()
    assert [one.payload for one in found.simple] == [b"one", b"three"]
    assert found.envelopes == (b"provenance",)
    assert len(found.left_out) == 2


@pytest.mark.parametrize(
    "content", [b"", b"[]", b'{"config":{},"layers":[]', b'{"manifests":[]}', b'{"config":{},"layers":[5]}']
)
async def test_broken_tags_of_cosign_do_not_spoil_what_is_attached(content: bytes) -> None:
    server = Server()
    server.index([server.attachment([server.blob(b"signed")])])
    for suffix in (".sig", ".att"):
        server.serve(f"manifests/{TAG}{suffix}", content)
    found = await server.read()
    assert found.envelopes == (b"signed",)
    assert found.left_out


async def test_a_list_of_attachments_that_is_none_does_not_spoil_the_tags_of_cosign() -> None:
    server = Server()
    server.serve(f"manifests/{TAG}", IMAGE)
    layers = json.dumps({"config": {}, "layers": [server.blob(b"signed")]}).encode()
    server.serve(f"manifests/{TAG}.att", layers)
    found = await server.read()
    assert found.envelopes == (b"signed",)
    assert [one.reason for one in found.left_out] == [RefusalReason.WRONG_MEDIA_TYPE]


async def test_what_is_remembered_of_broken_attachments_is_bounded() -> None:
    server = Server()
    server.index([server.attachment([server.blob(b"%d" % n, size=9)]) for n in range(100)])
    assert len((await server.read()).left_out) == 8


@pytest.mark.parametrize("limits", [Limits(evidence_bytes=1500), Limits(referrers=9)], ids=["bytes", "referrers"])
async def test_too_much_in_all_is_still_a_refusal(limits: Limits) -> None:
    server = Server()
    server.index([server.attachment([server.blob(b"%d" % n * 9)]) for n in range(10)])
    assert len((await server.read()).envelopes) == 10
    with pytest.raises(RegistryLied):
        await server.read(limits)


async def test_the_image_itself_is_still_not_believed_when_its_bytes_are_others() -> None:
    server = Server()
    server.serve(f"manifests/{DIGEST}", IMAGE + b" ")
    with pytest.raises(RegistryLied):
        await server.read()


async def test_a_blob_that_is_not_there_is_one_incomplete_attachment_and_its_neighbours_are_read() -> None:
    server = Server()
    whole, gone = server.attachment([server.blob(b"signed")]), server.blob(b"gone")
    del server.things[f"blobs/{gone['digest']}"]
    server.index([server.attachment([gone, server.blob(b"beside it")]), whole])
    note = {"annotations": {media.COSIGN_SIGNATURE: "c2ln"}}
    simple = [server.blob(text, media.SIMPLE_SIGNING, **note) for text in (b"one", b"two")]
    del server.things[f"blobs/{simple[0]['digest']}"]
    server.serve(f"manifests/{TAG}.sig", json.dumps({"config": {}, "layers": simple}).encode())
    found = await server.read()
    assert found.envelopes == (b"beside it", b"signed")
    assert [one.payload for one in found.simple] == [b"two"]
    assert found.left_out == ()
    assert len(found.missing) == 2
    assert any(gone["digest"] in text and "not there" in text for text in found.missing)


async def test_any_number_of_blobs_that_are_not_there_makes_a_message_of_bounded_length() -> None:
    server = Server()
    layers = [server.blob(f"gone {number}".encode()) for number in range(60)]
    for layer in layers:
        del server.things[f"blobs/{layer['digest']}"]
    server.index([server.attachment(layers), server.attachment([server.blob(b"signed")])])
    found = await server.read()
    assert found.envelopes == (b"signed",)
    assert 0 < len(found.missing) <= 8
