"""A registry that lies or does not answer, through the real operator; its honest twin is admitted."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable, Mapping

import pytest
from aiohttp import web

from jil.observe.registry import media
from tests.cluster.registry.liar import MANIFEST, Liar
from tests.cluster.trust.rig import LIARS_LOGIN, Image, Place, Rig, good_image

_numbers = itertools.count(1)
BIG = 4 * 1024 * 1024
_contents: list[bytes] = []


def unlike(**more: object) -> bytes:
    """A manifest that no other test has."""
    return json.dumps(json.loads(MANIFEST) | {"annotations": {"n": str(next(_numbers))}} | more).encode()


def honest(liar: Liar, release: str, content: bytes | None = None, kind: str = media.OCI_MANIFEST) -> Image:
    """A signed and approved image on the server, told truthfully."""
    content = content or unlike()
    _contents.append(content)
    repository, digest = liar.image(content, kind).split("@")
    image = Image(repository, digest)
    entries = []
    for envelope in good_image(image, release):
        blob = media.digest_of(envelope)
        liar.serve(f"blobs/{blob}", envelope)
        layer = {"mediaType": media.DSSE, "digest": blob, "size": len(envelope)}
        subject = {"mediaType": kind, "digest": digest, "size": len(content)}
        attachment = unlike(layers=[layer], subject=subject)
        liar.image(attachment)
        entries.append(
            {"mediaType": media.OCI_MANIFEST, "digest": media.digest_of(attachment), "size": len(attachment)}
        )
    listing(liar, digest, entries)
    return image


def listing(liar: Liar, digest: str, entries: list[dict[str, object]]) -> None:
    """The list of attachments."""
    body = json.dumps({"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": entries}).encode()
    liar.serve(f"referrers/{digest}", body, media.OCI_INDEX)


def other_bytes(liar: Liar, image: Image) -> None:
    liar.serve(f"manifests/{image.digest}", unlike(), media.OCI_MANIFEST)


def other_type(liar: Liar, image: Image) -> None:
    content = next(body for body in _contents if media.digest_of(body) == image.digest)
    liar.serve(f"manifests/{image.digest}", content, "text/html")


def too_large(liar: Liar, image: Image) -> None:
    liar.serve(f"manifests/{image.digest}", b" " * (BIG + 1), media.OCI_MANIFEST)


def ten_thousand(liar: Liar, image: Image) -> None:
    entry = {"mediaType": media.OCI_MANIFEST, "size": 100}
    listing(liar, image.digest, [entry | {"digest": f"sha256:{n:064x}"} for n in range(10_000)])


async def _unavailable(_: object) -> web.StreamResponse:
    return web.Response(status=503)


async def _hang(_: object) -> web.StreamResponse:
    await asyncio.sleep(3600)
    return web.Response()


LIES: Mapping[str, tuple[Callable[[Liar, Image], None], str]] = {
    "bytes of another digest": (other_bytes, "RegistryLied"),
    "media type of a web page": (other_type, "WrongMediaType"),
    "manifest above 4 MiB": (too_large, "TooLarge"),
    "10,000 referrers": (ten_thousand, "TooManySignatures"),
}


def indexed(liar: Liar, release: str, *, swapped: bool) -> Image:
    """A signed index; ``swapped``: the registry gives another child than the one that is in it."""
    child = unlike()
    digest = media.digest_of(child)
    platform = {"os": "linux", "architecture": "amd64"}
    entry = {"mediaType": media.OCI_MANIFEST, "digest": digest, "size": len(child), "platform": platform}
    index = json.dumps({"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": [entry]}).encode()
    liar.serve(f"manifests/{digest}", unlike() if swapped else child, media.OCI_MANIFEST)
    return honest(liar, release, index, media.OCI_INDEX)


def redirected(liar: Liar, storage: Liar, release: str, *, asks: bool) -> Image:
    """An image whose manifest the registry, once it has seen its login, redirects to ``storage``, another host.

    ``asks``: the storage wants a login too, which nobody gave the operator for it.
    """
    content = unlike()
    image = honest(liar, release, content)

    async def send_away(request: web.Request) -> web.StreamResponse:
        if request.headers.get("Authorization") != f"Basic {LIARS_LOGIN}":
            return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="liar"'})
        return web.Response(status=307, headers={"Location": f"http://{storage.host}/{image.digest}"})

    async def wants_more(_: object) -> web.StreamResponse:
        return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="storage"'})

    liar.at(f"manifests/{image.digest}", send_away)
    storage.serve(f"/{image.digest}", content, media.OCI_MANIFEST)
    if asks:
        storage.at(f"/{image.digest}", wants_more)
    return image


@pytest.fixture(scope="module")
def places(trusted: Rig) -> dict[str, Place]:
    """Everything at once."""
    liar = trusted.liar
    found = {"honest": trusted.place(image=lambda release: honest(liar, release))}
    for name, (lie, _) in LIES.items():

        def make(release: str, lie: Callable[[Liar, Image], None] = lie) -> Image:
            image = honest(liar, release)
            lie(liar, image)
            return image

        found[name] = trusted.place(image=make)
    for name, swapped in (("honest index", False), ("swapped child", True)):
        found[name] = trusted.place(image=lambda release, swapped=swapped: indexed(liar, release, swapped=swapped))
    for name, handler in (("503", _unavailable), ("hangs", _hang)):

        def silent(release: str, handler: object = handler) -> Image:
            image = honest(liar, release)
            liar.at(f"manifests/{image.digest}", handler)  # type: ignore[arg-type]
            return image

        found[name] = trusted.place(image=silent)
    for name, asks in (("redirects", False), ("redirects with credentials", True)):
        found[name] = trusted.place(
            image=lambda release, asks=asks: redirected(liar, trusted.storage, release, asks=asks)
        )
    return found


@pytest.mark.parametrize(
    ("name", "reason"), [(n, r) for n, (_, r) in LIES.items()] + [("swapped child", "RegistryLied")]
)
def test_i6_a_registry_that_lies_is_refused_and_nothing_is_created(
    trusted: Rig, places: dict[str, Place], name: str, reason: str
) -> None:
    place = places[name]
    trusted.until_refused(place)
    assert trusted.reasons(place.release) == {reason}
    assert trusted.workloads(place.namespace) == []
    message = trusted.world.condition(place.namespace, place.node, "ImageTrust")["message"]
    assert f"jilctl image inspect {place.image.name}" in message


@pytest.mark.parametrize("name", ["honest", "honest index", "redirects"])
def test_the_honest_twins_are_admitted(trusted: Rig, places: dict[str, Place], name: str) -> None:
    trusted.until_verified(places[name])


@pytest.mark.parametrize("name", ["503", "hangs", "redirects with credentials"])
def test_i6_a_registry_that_does_not_answer_is_unknown_and_nothing_is_created(
    trusted: Rig, places: dict[str, Place], name: str
) -> None:
    place = places[name]
    trusted.world.until(
        lambda: trusted.condition(place.release).get("status") == "Unknown", "the release to be unknown"
    )
    trusted.world.until(
        lambda: any(row.get("nextTry") for row in trusted.status(place.release).get("images", [])), "a next try"
    )
    # Each status is written apart; until the first time-out the node says Verifying.
    trusted.world.until(
        lambda: trusted.world.condition(place.namespace, place.node, "ImageTrust").get("reason") == "TrustUnknown",
        "the node to say that nothing is known",
    )
    assert trusted.world.condition(place.namespace, place.node, "ImageTrust")["status"] == "Unknown"
    assert trusted.workloads(place.namespace) == []


def test_i6_a_host_that_the_registry_redirects_to_never_sees_its_login(trusted: Rig, places: dict[str, Place]) -> None:
    for name in ("redirects", "redirects with credentials"):
        path = f"/{places[name].image.digest}"
        trusted.world.until(lambda path=path: any(r.path == path for r in trusted.storage.seen), f"a request of {path}")
    assert f"Basic {LIARS_LOGIN}" in trusted.liar.authorizations()
    assert set(trusted.storage.authorizations()) == {None}
