"""Reading registries: tags, manifests, blobs, and everything that is attached to an image."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Iterator
from typing import Any, Self, TypeVar

import httpx2

from jil.observe.registry import media
from jil.observe.registry.access import Access
from jil.observe.registry.errors import NotInRegistry, RegistryError, RegistryLied, RegistryUnknown
from jil.observe.registry.exchange import Budget, Call, expect
from jil.observe.registry.limits import Limits
from jil.observe.registry.media import Descriptor, Manifest
from jil.observe.registry.reference import Reference
from jil.observe.registry.referrers import Listing, next_page
from jil.observe.registry.tolerance import Tolerance
from jil.observe.registry.wire import Wire
from jil.trust.evidence import Evidence, SimpleSignature
from jil.trust.verdict import RefusalReason

T = TypeVar("T")

_NO_REFERRERS_API = (400, 404, 405, 406)
"""What registries without it answer; the specification says 404, older ones differ."""


class RegistryClient:
    """A reader. ``async with`` closes its connections; it may be used from many tasks of one loop.

    Every method raises RegistryUnknown when the registry gives no answer to build on (NotInRegistry when it answers that
    the thing is not there), RegistryLied when an answer contradicts itself or goes over a limit, and ValueError for a
    reference that is none. Of what is attached to an image, what contradicts itself is left out instead.
    """

    def __init__(
        self,
        access: Access | None = None,
        limits: Limits | None = None,
        *,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self.wire = Wire(access or Access(), self.limits, transport=transport)
        self._images = asyncio.Semaphore(self.limits.images)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.wire.__aexit__()

    async def resolve(self, image: str) -> str:
        """The digest that ``repository:tag`` has now, of the bytes that were served. ``latest`` is never assumed."""
        reference = Reference.parse(image)
        if reference.digest:
            return reference.digest
        if not reference.tag:
            raise ValueError(f"{image}: give a tag, {image}:TAG")
        found = await self._manifest(reference, reference.tag, media.MANIFESTS | media.INDEXES)
        return found.digest

    async def manifest(self, image: str) -> Manifest:
        """The manifest or index that ``repository@digest`` names."""
        reference = _by_digest(image)
        return await self._manifest(reference, str(reference.digest), media.MANIFESTS | media.INDEXES)

    async def blob(self, image: str, wanted: Descriptor) -> bytes:
        """A blob of the image's repository, at most ``limits.attachment_bytes`` long."""
        return await self._blob(Reference.parse(image), wanted, None)

    async def evidence(self, image: str) -> Evidence:
        """Everything about ``repository@digest`` that a verdict is made of, each byte checked against its digest.

        Attachments of other kinds (SBOMs, scans) and those larger than ``limits.attachment_bytes`` are left out.
        """
        reference = _by_digest(image)
        try:
            async with self._images, asyncio.timeout(self.limits.evidence_seconds):
                return await self._evidence(reference, Budget(self.limits.evidence_bytes, image))
        except ExceptionGroup as group_error:
            raise _finding(group_error) from None
        except TimeoutError:
            raise RegistryUnknown(
                f"{image}: the registry did not give everything in {self.limits.evidence_seconds:g} s"
            ) from None

    async def referrers(self, image: str) -> tuple[Descriptor, ...]:
        """What is attached to ``repository@digest``: from the referrers API, else from the tag ``sha256-<hex>``."""
        return await self._referrers(_by_digest(image), None, Tolerance())

    async def _evidence(self, reference: Reference, budget: Budget) -> Evidence:
        tolerance = Tolerance()
        async with asyncio.TaskGroup() as group:
            top = group.create_task(self._top(reference, budget))
            attached = group.create_task(self._attached(reference, budget, tolerance))
            simple = group.create_task(self._simple(reference, budget, tolerance))
            statements = group.create_task(self._statements(reference, budget, tolerance))
        manifest, children = top.result()
        envelopes, bundles = attached.result()
        return Evidence(
            repository=reference.repository,
            digest=manifest.digest,
            media_type=manifest.media_type,
            manifest=manifest.content,
            children=children,
            envelopes=(*envelopes, *statements.result()),
            simple=simple.result(),
            bundles=bundles,
            left_out=tolerance.left_out,
            missing=tolerance.missing,
        )

    # ---- the image itself

    async def _top(self, reference: Reference, budget: Budget) -> tuple[Manifest, dict[str, bytes]]:
        digest = str(reference.digest)
        manifest = await self._manifest(reference, digest, media.MANIFESTS | media.INDEXES, budget)
        if not manifest.is_index:
            return manifest, {}
        listed = manifest.descriptors("manifests", str(reference))
        if len(listed) > self.limits.children:
            raise RegistryLied(
                f"{reference} lists {len(listed)} manifests; {self.limits.children} are allowed",
                RefusalReason.TOO_LARGE,
            )

        async def child(entry: Descriptor) -> tuple[str, bytes] | None:
            try:
                found = await self._manifest(reference, entry.digest, media.MANIFESTS | media.INDEXES, budget)
            except NotInRegistry:
                return None  # a sparse index: whoever needs this platform will miss it
            if (found.media_type, len(found.content)) != (media.bare(entry.media_type), entry.size):
                raise RegistryLied(f"{reference}: {entry.digest} has another type or size than the index says")
            return entry.digest, found.content

        found = await _all(child(entry) for entry in listed)
        return manifest, dict(pair for pair in found if pair)

    # ---- what is attached to it

    async def _attached(
        self, reference: Reference, budget: Budget, tolerance: Tolerance
    ) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
        """(DSSE envelopes, sigstore bundles) of all referrers, in the order of the list."""
        listed = await self._referrers(reference, budget, tolerance)

        async def read(entry: Descriptor) -> tuple[list[bytes], list[bytes]]:
            if media.bare(entry.media_type) not in media.MANIFESTS:
                return [], []
            with tolerance.one():
                try:
                    found = await self._manifest(reference, entry.digest, media.MANIFESTS, budget)
                except NotInRegistry:
                    return [], []  # deleted since it was listed
                if found.subject != reference.digest:
                    return [], []  # a fallback tag may list what is attached to something else
                return await self._layers(reference, found, budget, tolerance)
            return [], []

        parts = await _all(read(entry) for entry in listed)
        return tuple(e for envelopes, _ in parts for e in envelopes), tuple(b for _, bundles in parts for b in bundles)

    async def _layers(
        self, reference: Reference, found: Manifest, budget: Budget, tolerance: Tolerance
    ) -> tuple[list[bytes], list[bytes]]:
        """By the types of the layers, not by what a list said of the artifact: old fallback lists are wrong there."""
        envelopes, bundles = [], []
        for layer in self._few_layers(reference, found):
            with tolerance.one():
                if layer.media_type == media.DSSE:
                    envelopes.append(await self._blob(reference, layer, budget))
                elif media.is_bundle(layer.media_type):
                    bundles.append(await self._blob(reference, layer, budget))
        return envelopes, bundles

    async def _simple(self, reference: Reference, budget: Budget, tolerance: Tolerance) -> tuple[SimpleSignature, ...]:
        """Signatures that cosign keeps under the tag ``sha256-<hex>.sig``, one per layer."""
        signatures: list[SimpleSignature] = []
        with tolerance.one():
            found = await self._tagged(reference, ".sig", budget)
            for layer in self._few_layers(reference, found) if found else ():
                signature = layer.annotations.get(media.COSIGN_SIGNATURE)
                if layer.media_type == media.SIMPLE_SIGNING and signature is not None:
                    with tolerance.one():
                        signatures.append(SimpleSignature(await self._blob(reference, layer, budget), signature))
        return tuple(signatures)

    async def _statements(self, reference: Reference, budget: Budget, tolerance: Tolerance) -> tuple[bytes, ...]:
        """Attestations that cosign keeps under the tag ``sha256-<hex>.att``: DSSE envelopes, one per layer."""
        with tolerance.one():
            if found := await self._tagged(reference, ".att", budget):
                return tuple((await self._layers(reference, found, budget, tolerance))[0])
        return ()

    async def tagged_index(self, reference: Reference, tag: str) -> Manifest:
        """The index under a tag; NotInRegistry when there is none."""
        return await self._manifest(reference, tag, media.INDEXES)

    async def _tagged(self, reference: Reference, suffix: str, budget: Budget | None) -> Manifest | None:
        tag = fallback_tag(str(reference.digest)) + suffix
        allowed = media.INDEXES if not suffix else media.MANIFESTS
        try:
            return await self._manifest(reference, tag, allowed, budget)
        except NotInRegistry:
            return None

    def _few_layers(self, reference: Reference, found: Manifest) -> tuple[Descriptor, ...]:
        layers = found.descriptors("layers", f"{reference}: attachment {found.digest}")
        if len(layers) > self.limits.layers:
            raise RegistryLied(
                f"{reference}: attachment {found.digest} has {len(layers)} layers; {self.limits.layers} are allowed",
                RefusalReason.TOO_MANY_SIGNATURES,
            )
        return tuple(layer for layer in layers if layer.size <= self.limits.attachment_bytes)

    async def _referrers(
        self, reference: Reference, budget: Budget | None, tolerance: Tolerance
    ) -> tuple[Descriptor, ...]:
        digest = str(reference.digest)
        listing = Listing(str(reference), self.limits)
        path: str | None = f"referrers/{digest}"
        while path:
            call = self.call("GET", reference, path, f"{reference}: list of attachments", budget=budget)
            reply = await self.wire.send(call)
            is_list = reply.status == 200 and media.bare(reply.headers.get("content-type")) == media.OCI_INDEX
            if listing.pages == 0 and (reply.status in _NO_REFERRERS_API or (reply.status == 200 and not is_list)):
                found = None
                with tolerance.one():  # whoever may push may push this tag
                    found = await self._tagged(reference, "", budget)
                listing.add(tolerance.sound(found.body.get("manifests"), call.what) if found else ())
                break
            expect(call, reply, 200)
            page = media.manifest(reply.body, reply.headers.get("content-type"), call.what, media.INDEXES)
            listing.add(tolerance.sound(page.body.get("manifests"), call.what))
            path = next_page(reply, self.prefix(reference), digest)
        return listing.found

    # ---- one thing

    async def _manifest(
        self, reference: Reference, name: str, allowed: frozenset[str], budget: Budget | None = None
    ) -> Manifest:
        """A manifest by digest or tag."""
        by_digest = ":" in name
        where = f"{reference.repository}{'@' if by_digest else ':'}{name}"
        call = self.call(
            "GET",
            reference,
            f"manifests/{name}",
            where,
            limit=self.limits.manifest_bytes,
            headers={"Accept": media.ACCEPT},
            anywhere=by_digest,
            budget=budget,
        )
        reply = expect(call, await self.wire.send(call), 200)
        digest = media.digest_of(reply.body)
        announced = name if by_digest else reply.headers.get("docker-content-digest", digest)
        if digest != announced:
            raise RegistryLied(f"{where}: the registry serves {digest} as {announced:.80}")
        return media.manifest(reply.body, reply.headers.get("content-type"), where, allowed)

    async def _blob(self, reference: Reference, wanted: Descriptor, budget: Budget | None) -> bytes:
        where = f"{reference.repository}@{wanted.digest}"
        if wanted.size > self.limits.attachment_bytes:
            raise RegistryLied(
                f"{where} has {wanted.size} bytes; {self.limits.attachment_bytes} are allowed", RefusalReason.TOO_LARGE
            )
        call = self.call(
            "GET", reference, f"blobs/{wanted.digest}", where, limit=wanted.size, anywhere=True, budget=budget
        )
        reply = expect(call, await self.wire.send(call), 200)
        digest = media.digest_of(reply.body)
        if digest != wanted.digest or len(reply.body) != wanted.size:
            raise RegistryLied(f"{where}: the registry serves {digest}, {len(reply.body)} of {wanted.size} bytes")
        return reply.body

    def call(
        self,
        method: str,
        reference: Reference,
        path: str,
        what: str,
        *,
        limit: int | None = None,
        headers: dict[str, str] | None = None,
        content: bytes | None = None,
        push: bool = False,
        anywhere: bool = False,
        budget: Budget | None = None,
    ) -> Call:
        """A request to the repository's part of the API; ``path`` begins after ``/v2/<name>/``, or is a whole URL."""
        url = path if "://" in path else self.prefix(reference) + path
        return Call(
            method,
            url,
            reference.api_host,
            reference.path,
            what,
            self.limits.manifest_bytes if limit is None else limit,
            headers or {},
            content,
            push,
            anywhere,
            budget,
        )

    def prefix(self, reference: Reference) -> str:
        """``https://host/v2/<name>/``."""
        return f"{self.wire.access.base_url(reference.api_host)}/v2/{reference.path}/"


def fallback_tag(digest: str) -> str:
    """``sha256-<hex>``: where attachments are listed in registries without the referrers API (OCI 1.1)."""
    return digest.replace(":", "-", 1)


def _by_digest(image: str) -> Reference:
    reference = Reference.parse(image)
    if not reference.digest:
        raise ValueError(f"{image} has no digest; wanted is REPOSITORY@sha256:DIGEST")
    return reference


async def _all(parts: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Results in order. The first failure ends the others, which asyncio.gather would leave running."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(part) for part in parts]
    return [task.result() for task in tasks]


def _finding(group: ExceptionGroup[Exception]) -> Exception:
    """What to tell of several failures: a bug before a lie before a silence."""

    def rank(error: Exception) -> int:
        return isinstance(error, RegistryError) + isinstance(error, RegistryUnknown)

    return min(_leaves(group), key=rank)


def _leaves(error: BaseException) -> Iterator[Exception]:
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from _leaves(part)
    elif isinstance(error, Exception):
        yield error
