"""What was admitted once: it is kept when a key is revoked, asked about no more, and not taken up anew."""

from __future__ import annotations

from typing import Any

from tests.cluster.trust.rig import Image, Place, Rig, good_image, signed, trust
from tests.sim.world import JIL
from tests.unit.trust.scenario import MALLORY


def revoke(rig: Rig, place: Place) -> None:
    """The key that signed everything is compromised."""
    spec = trust(rig.registry, release_2026={"revokedAt": "2026-01-01T00:00:00Z", "revocation": "Compromised"})
    path = f"{JIL}/jilnetworks/{place.network}"
    rig.world.api.request("PATCH", path, {"spec": {"trust": spec}}, content_type="application/merge-patch+json")


def want(rig: Rig, place: Place, release: str) -> None:
    """The jurisdiction asks for another release."""
    path = f"{JIL}/namespaces/{place.namespace}/jiljurisdictions/main"
    rig.world.api.request("PATCH", path, {"spec": {"release": release}}, content_type="application/merge-patch+json")


def trust_of(rig: Rig, place: Place) -> dict[str, Any]:
    """The node's condition ImageTrust."""
    return rig.world.condition(place.namespace, place.node, "ImageTrust")


def images(rig: Rig, place: Place) -> set[str]:
    """Images in the node's workloads."""
    found = set()
    for kind in ("statefulsets", "deployments"):
        for item in rig.world.api.get(f"/apis/apps/v1/namespaces/{place.namespace}/{kind}")["items"]:
            found |= {container["image"] for container in item["spec"]["template"]["spec"]["containers"]}
    return found


def test_i6_ac_23_a_node_keeps_what_it_runs_and_takes_up_nothing_that_is_refused(trusted: Rig) -> None:
    world = trusted.world
    place = trusted.place()
    trusted.until_verified(place)
    world.until_ready(place.namespace, place.node, 120)
    assert trust_of(trusted, place)["status"] == "True"

    # An operator that starts anew asks the registry nothing about it: its verdicts stand in the allow-list.
    asked = len(trusted.registry.requests())
    world.kill(world.operators[-1])
    world.operator()
    trusted.until_verified(trusted.place())
    repository = place.image.repository.partition("/")[2]
    assert [request for request in trusted.registry.requests()[asked:] if f"/{repository}/" in request] == []
    rows = [row for row in trusted.status(place.release)["images"] if row["name"] == "cache"]
    assert [(row["keys"], row["approvers"]) for row in rows] == [(["release-2026"], ["alice@example.com"])]

    # A release that nobody signed: the node goes on with the one that it has.
    unsigned = trusted.push(lambda image: [])
    trusted.release(f"{place.release}-next", unsigned, seal=lambda name, spec: [])
    want(trusted, place, f"{place.release}-next")
    world.until(lambda: trust_of(trusted, place).get("reason") == "ImageRefused", "the next release to be refused")
    assert images(trusted, place) == {place.image.name}
    assert set(trusted.allow_list(place.namespace)["digests"]) == {place.image.digest}
    want(trusted, place, place.release)
    world.until(lambda: trust_of(trusted, place).get("status") == "True", "the good release to be wanted again")

    # The key is revoked under the running node: nothing is taken down, and its digest stays in the list, marked.
    revoke(trusted, place)
    world.until(
        lambda: "release-2026 is revoked as compromised" in trust_of(trusted, place)["message"],
        "the revocation to be seen",
    )
    assert trust_of(trusted, place)["reason"] == "ImageRefused"
    digests = lambda: trusted.allow_list(place.namespace)["digests"]  # noqa: E731
    world.until(lambda: "keptSince" in digests()[place.image.digest], "the digest to be marked as kept")
    entry = digests()[place.image.digest]
    assert entry["releases"] == [place.release]
    assert images(trusted, place) == {place.image.name}
    assert world.phase(place.namespace, place.node) == "Ready"
    # A child that is deleted comes back, because the node is kept as it is.
    world.api.request("DELETE", f"/apis/apps/v1/namespaces/{place.namespace}/deployments/{place.node}-health")
    world.until(lambda: f"{place.node}-health" in trusted.workloads(place.namespace), "the child to come back")


def test_i6_a_signature_that_comes_later_lets_the_node_start(trusted: Rig) -> None:
    def unknown_signer(image: Image, release: str) -> list[bytes]:
        return [signed(image, MALLORY), *good_image(image, release)[1:]]

    place = trusted.place(unknown_signer)
    trusted.until_refused(place)
    assert trusted.reasons(place.release) == {"UnknownKey"}
    trusted.attach(place.image, signed(place.image))
    # A change of the release's envelopes makes the operator look at once; without one it looks within two minutes.
    live = trusted.world.api.get(f"{JIL}/jilreleases/{place.release}")
    more = [*live["spec"]["envelopes"], live["spec"]["envelopes"][0].replace('"payload"', ' "payload"', 1)]
    path = f"{JIL}/jilreleases/{place.release}"
    body = {"spec": {"envelopes": more}}
    trusted.world.api.request("PATCH", path, body, content_type="application/merge-patch+json")
    trusted.until_verified(place)


def test_i6_a_registry_that_has_nothing_to_say_is_unknown_and_nothing_starts(trusted: Rig) -> None:
    """404 for the image itself: not there yet, or hidden. No verdict, no workload, another try later."""
    missing = Image(trusted.registry.repository(), "sha256:" + "1" * 64)
    place = trusted.place(image=missing)
    trusted.world.until(
        lambda: trust_of(trusted, place).get("reason") == "TrustUnknown", "the node to say that nothing is known"
    )
    assert trust_of(trusted, place)["status"] == "Unknown"
    trusted.world.until(lambda: trusted.condition(place.release).get("status") == "Unknown", "the release to say so")
    rows = [row for row in trusted.status(place.release)["images"] if row["verdict"] == "Unknown"]
    assert len(rows) == 5
    assert all(row["nextTry"] > row["since"] for row in rows)
    assert trusted.workloads(place.namespace) == []
    assert trusted.allow_list(place.namespace).get("digests", {}) == {}
