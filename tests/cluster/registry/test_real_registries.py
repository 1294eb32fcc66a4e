"""The client against real registries: distribution with TLS and a password, and one with the referrers API."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from pathlib import Path

import pytest

from jil.observe.registry import (
    Access,
    ClientCertificate,
    Credential,
    Credentials,
    NotInRegistry,
    Reference,
    RegistryClient,
    RegistryPush,
    RegistryUnknown,
    media,
)
from tests.cluster.registry import rig

ENVELOPE = "application/vnd.example.signature"


async def test_what_is_attached_to_an_image_is_read_back(either_registry: rig.Registry) -> None:
    async with RegistryClient(either_registry.access) as client:
        push, repository = RegistryPush(client), either_registry.repository()
        digest = await rig.push_image(push, repository)
        image = f"{repository}@{digest}"
        first = await push.attach(image, ENVELOPE, [(media.DSSE, b'{"n":1}')])
        bundle = "application/vnd.dev.sigstore.bundle.v0.3+json"
        await push.attach(image, bundle, [(bundle, b'{"n":2}')], {"dev.sigstore.bundle.content": "dsse-envelope"})
        await push.attach(image, "application/spdx+json", [("application/spdx+json", b'{"n":3}')])
        assert await client.resolve(f"{repository}:v1") == digest
        found = await client.evidence(image)
        listed = await client.referrers(image)
    assert (found.repository, found.digest, found.media_type) == (repository, digest, media.OCI_MANIFEST)
    assert media.digest_of(found.manifest) == digest
    assert (found.envelopes, found.bundles, found.simple) == ((b'{"n":1}',), (b'{"n":2}',), ())
    assert len(listed) == 3
    assert first in {entry.digest for entry in listed}


async def test_a_registry_with_the_referrers_api_gets_no_fallback_tag(referrers_registry: rig.Registry) -> None:
    async with RegistryClient(referrers_registry.access) as client:
        push, repository = RegistryPush(client), referrers_registry.repository()
        digest = await rig.push_image(push, repository)
        await push.attach(f"{repository}@{digest}", ENVELOPE, [(media.DSSE, b"{}")])
        with pytest.raises(NotInRegistry):
            await client.resolve(f"{repository}:{digest.replace(':', '-')}")


async def test_attachments_of_several_writers_at_once_are_all_listed(registry: rig.Registry) -> None:
    async with RegistryClient(registry.access) as client:
        push, repository = RegistryPush(client), registry.repository()
        image = f"{repository}@{await rig.push_image(push, repository)}"
        contents = [json.dumps({"n": n}).encode() for n in range(3)]
        for content in contents:
            await push.attach(image, ENVELOPE, [(media.DSSE, content)])
        await push.attach(image, ENVELOPE, [(media.DSSE, contents[0])])  # once more: nothing is listed twice
        found = await client.evidence(image)
    assert found.envelopes == tuple(contents)


async def test_a_cosign_signature_tag_gives_payloads_and_signatures(either_registry: rig.Registry) -> None:
    async with RegistryClient(either_registry.access) as client:
        push, repository = RegistryPush(client), either_registry.repository()
        digest = await rig.push_image(push, repository)
        layers = []
        for number in range(2):
            blob = await push.blob(repository, b"payload %d" % number, media.SIMPLE_SIGNING)
            entry = {"mediaType": blob.media_type, "digest": blob.digest, "size": blob.size}
            layers.append(entry | {"annotations": {media.COSIGN_SIGNATURE: f"c2ln{number}"}})
        layers.append(dict(layers[0], annotations={}))  # a layer without a signature is none
        tag = digest.replace(":", "-") + ".sig"
        config = await push.blob(repository, b"{}", "application/vnd.oci.image.config.v1+json")
        manifest = rig.image_manifest(b"{}", config.digest, layers=layers)
        await push.manifest(f"{repository}:{tag}", manifest, media.OCI_MANIFEST)
        found = await client.evidence(f"{repository}@{digest}")
    assert [(one.payload, one.signature) for one in found.simple] == [(b"payload 0", "c2ln0"), (b"payload 1", "c2ln1")]


async def test_the_children_of_an_index_are_read_and_one_that_is_gone_is_left_out(registry: rig.Registry) -> None:
    async with RegistryClient(registry.access) as client:
        push, repository = RegistryPush(client), registry.repository()
        children = [await rig.push_image(push, repository, f"child-{n}") for n in range(2)]
        contents = {digest: (await client.manifest(f"{repository}@{digest}")).content for digest in children}
        entries = [
            {"mediaType": media.OCI_MANIFEST, "digest": digest, "size": len(content)}
            for digest, content in contents.items()
        ]
        index = json.dumps({"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": entries}).encode()
        digest = await push.manifest(f"{repository}:index", index, media.OCI_INDEX)
        found = await client.evidence(f"{repository}@{digest}")
        assert (found.media_type, found.children) == (media.OCI_INDEX, contents)
        remove = client.call(
            "DELETE", Reference.parse(repository), f"manifests/{children[1]}", "removal of a child", push=True
        )
        assert (await client.wire.send(remove)).status == 202
        found = await client.evidence(f"{repository}@{digest}")
    assert list(found.children) == [children[0]]


async def test_a_moved_tag_resolves_to_what_is_served_now(registry: rig.Registry) -> None:
    async with RegistryClient(registry.access) as client:
        push, repository = RegistryPush(client), registry.repository()
        first = await rig.push_image(push, repository)
        assert await client.resolve(f"{repository}:v1") == first
        second = await rig.push_image(push, repository)
        assert await client.resolve(f"{repository}:v1") == second != first


async def test_what_is_not_there_is_unknown_and_says_so(either_registry: rig.Registry) -> None:
    async with RegistryClient(either_registry.access) as client:
        image = f"{either_registry.repository()}@sha256:{'0' * 64}"
        with pytest.raises(NotInRegistry, match=r"not there .* answers 404"):
            await client.evidence(image)


@pytest.mark.parametrize(
    ("credentials", "message"),
    [
        (Credentials(), "wants user and password, and none are known for it: add a pull secret"),
        # Several requests are under way at once: which of them ends first, the one that was refused or one that knows
        # already that it would be, is chance.
        (
            Credentials({"HOST": Credential("ci", "wrong-password")}),
            r"does not accept (the credentials \(401|user and password of 'ci')",
        ),
    ],
    ids=["none", "wrong"],
)
async def test_without_good_credentials_nothing_is_known(
    registry: rig.Registry, credentials: Credentials, message: str
) -> None:
    known = credentials.find("HOST", "x")
    mine = Credentials({registry.host: known}) if known else credentials
    async with RegistryClient(dataclasses.replace(registry.access, credentials=mine)) as client:
        with pytest.raises(RegistryUnknown, match=message) as caught:
            await client.evidence(f"{registry.repository()}@sha256:{'0' * 64}")
    assert "wrong-password" not in str(caught.value)


async def test_credentials_come_from_a_pull_secret(registry: rig.Registry) -> None:
    secret = json.dumps({"auths": {f"https://{registry.host}": {"username": rig.USER, "password": rig.PASSWORD}}})
    access = Access(Credentials.from_docker_config(secret), ca=registry.access.ca)
    async with RegistryClient(access) as client:
        with pytest.raises(NotInRegistry):
            await client.resolve(f"{registry.repository()}:v1")


async def test_a_registry_whose_ca_is_not_known_is_not_believed(registry: rig.Registry) -> None:
    async with RegistryClient(dataclasses.replace(registry.access, ca=None)) as client:
        with pytest.raises(RegistryUnknown, match="certificate verify failed"):
            await client.resolve(f"{registry.repository()}:v1")


async def test_a_registry_with_mutual_tls_is_shown_the_certificate(tmp_path: Path) -> None:
    with rig.mutual_tls(tmp_path) as (registry, pair):
        image = f"{registry.repository()}:v1"
        certificate = ClientCertificate(
            pair.certificate.read_bytes(), pair.key.read_bytes(), frozenset({registry.host})
        )
        async with RegistryClient(dataclasses.replace(registry.access, certificate=certificate)) as client:
            with pytest.raises(NotInRegistry):
                await client.resolve(image)
        elsewhere = dataclasses.replace(certificate, hosts=frozenset({"another.example"}))
        for access in (registry.access, dataclasses.replace(registry.access, certificate=elsewhere)):
            async with RegistryClient(access) as client:
                with pytest.raises(RegistryUnknown, match="CERTIFICATE_REQUIRED"):
                    await client.resolve(image)


async def test_a_registry_that_ends_is_unknown(tmp_path: Path) -> None:
    with rig.with_referrers(tmp_path) as registry:
        image = f"{registry.repository()}:v1"
    async with RegistryClient(registry.access) as client:
        with pytest.raises(RegistryUnknown, match=r"cannot connect to http://127\.0\.0\.1"):
            await client.resolve(image)


async def test_many_images_at_once_use_few_connections_and_lose_nothing(registry: rig.Registry) -> None:
    async with RegistryClient(registry.access) as client:
        push, repository = RegistryPush(client), registry.repository()
        digests = [await rig.push_image(push, repository, f"v{n}") for n in range(12)]
        before = client.wire.requests
        found = await asyncio.gather(*(client.evidence(f"{repository}@{digest}") for digest in digests))
        assert [one.digest for one in found] == digests
        # Manifest, referrers, its fallback tag, .sig and .att; reading was never challenged yet.
        first_401s = client.limits.per_host
        assert 12 * 5 <= client.wire.requests - before <= 12 * 5 + first_401s
        before = client.wire.requests
        await client.evidence(f"{repository}@{digests[0]}")
        assert client.wire.requests - before == 5
