"""Writing to registries: blobs, manifests, and attaching something to an image."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import httpx2

from jil.observe.registry import media
from jil.observe.registry.client import RegistryClient, fallback_tag
from jil.observe.registry.errors import NotInRegistry, RegistryLied, RegistryUnknown
from jil.observe.registry.exchange import expect
from jil.observe.registry.media import Descriptor
from jil.observe.registry.reference import Reference

_FALLBACK_TRIES = 5


class RegistryPush:
    """Pushes through a client's connections and credentials; raises what the client raises."""

    def __init__(self, client: RegistryClient) -> None:
        self._client = client

    async def blob(self, image: str, content: bytes, media_type: str) -> Descriptor:
        """Push a blob into the image's repository, unless it is there."""
        reference = Reference.parse(image)
        digest, wire = media.digest_of(content), self._client.wire
        what = f"push of {reference.at(digest)}"
        made = Descriptor(media_type, digest, len(content), {})
        look = self._client.call("HEAD", reference, f"blobs/{digest}", what, push=True, anywhere=True)
        if (await wire.send(look)).status == 200:
            return made
        begin = self._client.call("POST", reference, "blobs/uploads/", what, push=True, content=b"")
        begun = expect(begin, await wire.send(begin), 202)
        end = self._client.call(
            "PUT",
            reference,
            self._upload_url(reference, begun.headers.get("location", ""), digest, what),
            what,
            push=True,
            content=content,
            headers={"Content-Type": "application/octet-stream"},
        )
        expect(end, await wire.send(end), 201)
        return made

    async def manifest(self, image: str, content: bytes, media_type: str) -> str:
        """Push a manifest under the image's tag, or its digest when it has none; returns the digest."""
        digest, _ = await self._manifest(image, content, media_type)
        return digest

    async def attach(
        self,
        image: str,
        artifact_type: str,
        layers: Sequence[tuple[str, bytes]],
        annotations: Mapping[str, str] | None = None,
    ) -> str:
        """Attach (media type, content) layers to ``repository@digest`` as a referrer (OCI 1.1); returns its digest.

        When the registry does not say that it keeps the list of referrers, the list under the tag ``sha256-<hex>`` is
        brought up to date, as the specification asks of clients.
        """
        reference = Reference.parse(image)
        subject = await self._client.manifest(image)
        empty = await self.blob(image, media.EMPTY_CONTENT, media.EMPTY)
        body = {
            "schemaVersion": 2,
            "mediaType": media.OCI_MANIFEST,
            "artifactType": artifact_type,
            "config": _entry(empty),
            "layers": [_entry(await self.blob(image, content, kind)) for kind, content in layers],
            "subject": {"mediaType": subject.media_type, "digest": subject.digest, "size": len(subject.content)},
            "annotations": dict(annotations or {}),
        }
        content = json.dumps(body, separators=(",", ":")).encode()
        digest, kept = await self._manifest(reference.at(media.digest_of(content)), content, media.OCI_MANIFEST)
        if not kept:
            entry = {
                "mediaType": media.OCI_MANIFEST,
                "digest": digest,
                "size": len(content),
                "artifactType": artifact_type,
                "annotations": dict(annotations or {}),
            }
            await self._list_by_hand(reference, subject.digest, entry)
        return digest

    async def _manifest(self, image: str, content: bytes, media_type: str) -> tuple[str, bool]:
        """(digest, whether the registry says that it took note of the subject)."""
        reference = Reference.parse(image)
        digest = media.digest_of(content)
        if reference.digest not in (None, digest):
            raise ValueError(f"{image}: the manifest to push has the digest {digest}")
        call = self._client.call(
            "PUT",
            reference,
            f"manifests/{reference.tag or digest}",
            f"push of {reference}",
            push=True,
            content=content,
            headers={"Content-Type": media_type},
        )
        reply = expect(call, await self._client.wire.send(call), 201)
        taken = reply.headers.get("docker-content-digest", digest)
        if taken != digest:
            raise RegistryLied(f"push of {reference}: the registry took {taken:.80} for {digest}")
        return digest, "oci-subject" in reply.headers

    async def _list_by_hand(self, reference: Reference, subject: str, entry: dict[str, Any]) -> None:
        """Add an entry to the fallback list, unless the registry lists it itself and merely did not say so.

        Two writers can overwrite each other, so the list is read again afterwards.
        """
        tag = fallback_tag(subject)
        image = f"{reference.repository}:{tag}"
        for _ in range(_FALLBACK_TRIES):
            if any(one.digest == entry["digest"] for one in await self._client.referrers(reference.at(subject))):
                return
            listed = await self._fallback_list(reference, tag)
            body = {"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": [*listed, entry]}
            await self._manifest(image, json.dumps(body, separators=(",", ":")).encode(), media.OCI_INDEX)
        raise RegistryUnknown(
            f"{image}: {entry['digest']} was pushed but does not stay in the list of attachments, "
            f"{_FALLBACK_TRIES} tries: others write it at the same time; run it again"
        )

    async def _fallback_list(self, reference: Reference, tag: str) -> list[dict[str, Any]]:
        try:
            found = await self._client.tagged_index(reference, tag)
        except NotInRegistry:
            return []
        return [dict(entry) for entry in found.body["manifests"] or ()]

    def _upload_url(self, reference: Reference, location: str, digest: str, what: str) -> str:
        """Where the registry wants the blob. Only its own server is believed: it is sent our credentials."""
        base = httpx2.URL(self._client.prefix(reference))
        try:
            target = base.join(location)
        except (httpx2.InvalidURL, ValueError):
            target = httpx2.URL("")
        if (target.scheme, target.netloc, target.userinfo) != (base.scheme, base.netloc, b""):
            raise RegistryUnknown(f"{what}: the registry wants it sent to another server, which is not done")
        return str(target.copy_merge_params({"digest": digest}))


def _entry(blob: Descriptor) -> dict[str, Any]:
    return {"mediaType": blob.media_type, "digest": blob.digest, "size": blob.size}
