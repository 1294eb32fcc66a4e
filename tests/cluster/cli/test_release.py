"""``jilctl release``, end to end against a real registry: one release from tags to a verdict, and every wrong turn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from jil.cli.steps import release as steps
from jil.cli.steps.bench import Bench
from jil.observe.registry import Reference
from tests.cluster.cli.desk import Desk

COMPONENTS = ("database", "cache", "broker", "validator", "health")


def draft(desk: Desk, image: str, service: str | None = None) -> Path:
    """A draft whose components are all one image, with one service when one is given."""
    spec: dict[str, Any] = {"version": "1.4.0", "images": {name: {"image": image} for name in COMPONENTS}}
    if service:
        spec["services"] = [{"name": "transfers", "image": {"image": service}, "needs": ["database"]}]
    path = desk.folder / "draft.yaml"
    path.write_text(yaml.safe_dump({"apiVersion": "jil.io/v1alpha1", "kind": "JILRelease", "spec": spec}))
    return path


def created(desk: Desk, image: str, service: str | None = None) -> Path:
    """A JILRelease r1 in a file."""
    path = desk.folder / "r1.yaml"
    path.write_text(desk.ok("release", "create", "r1", "--from", str(draft(desk, image, service))).out)
    return path


def test_a_release_goes_from_tags_to_a_signed_manifest_that_is_verified(desk: Desk) -> None:
    pinned = desk.signed()
    repository, _, digest = pinned.partition("@")
    path = created(desk, f"{repository}:v1", pinned)
    made = yaml.safe_load(path.read_text())
    assert made["metadata"]["name"] == "r1"
    assert made["spec"]["images"]["health"] == {"image": pinned, "tag": "v1"}
    assert made["spec"]["services"] == [{"name": "transfers", "image": {"image": pinned}, "needs": ["database"]}]
    assert digest in path.read_text()

    before = desk.jilctl("release", "verify", "-f", str(path), "--track", "devnet", "-o", "json")
    assert (before.code, before.json["envelopes"]["reason"]) == (1, "Unsigned")
    assert {one["verdict"] for one in before.json["images"].values()} == {"Verified"}
    desk.ok("release", "sign", "-f", str(path), "--track", "devnet", "--key", str(desk.key("release")), "--write")
    shown = desk.ok("release", "verify", "-f", str(path), "--track", "devnet").out
    assert shown.count("Verified") == 7  # the release, five components, one service
    assert len(yaml.safe_load(path.read_text())["spec"]["envelopes"]) == 1


def test_a_service_that_is_swapped_after_the_signature_invalidates_the_release(desk: Desk) -> None:
    one, other = desk.signed(), desk.signed()
    path = created(desk, one, one)
    desk.ok("release", "sign", "-f", str(path), "--track", "devnet", "--key", str(desk.key("release")), "--write")
    body = yaml.safe_load(path.read_text())
    body["spec"]["services"][0]["image"]["image"] = other  # signed as well, but not in this release
    path.write_text(yaml.safe_dump(body))
    done = desk.jilctl("release", "verify", "-f", str(path), "--track", "devnet", "-o", "json")
    assert (done.code, done.json["envelopes"]["reason"]) == (1, "ReleaseChanged")
    assert done.json["images"]["transfers"]["verdict"] == "Verified"


def test_a_release_with_one_unsigned_image_is_not_signed(desk: Desk) -> None:
    path = created(desk, desk.signed(), desk.build()[1])
    line = desk.refused(1, "release", "sign", "-f", str(path), "--track", "devnet", "--key", str(desk.key("release")))
    assert "r1 is not signed: transfers: image" in line
    assert "no signature is attached to it" in line


def test_approvals_of_a_release_come_after_its_signature_and_from_others(desk: Desk) -> None:
    path = created(desk, desk.promoted("r1"))
    sign = ["release", "sign", "-f", str(path), "--track", "testnet", "--write", "--key"]
    line = desk.refused(1, *sign, str(desk.key("alice")), "--approve")
    assert "there is nothing to approve" in line
    desk.ok(*sign, str(desk.key("boss")))
    assert "release has no role approver" in desk.refused(1, *sign, str(desk.key("release")), "--approve")
    done = desk.jilctl("release", "verify", "-f", str(path), "--track", "testnet", "-o", "json")
    assert (done.code, done.json["envelopes"]["reason"]) == (1, "TooFewApprovals")
    desk.ok(*sign, str(desk.key("alice")), "--approve", "--expires", "4w")
    desk.ok("release", "verify", "-f", str(path), "--track", "testnet")


def test_the_track_is_that_of_the_network_when_none_is_given(desk: Desk) -> None:
    trust = yaml.safe_load((desk.folder / "policy.yaml").read_text())
    network = {"apiVersion": "jil.io/v1alpha1", "kind": "JILNetwork", "spec": {"track": "devnet", "trust": trust}}
    (desk.folder / "policy.yaml").write_text(yaml.safe_dump(network))
    path = created(desk, desk.signed())
    desk.ok("release", "sign", "-f", str(path), "--key", str(desk.key("ci")), "--write")
    assert desk.ok("release", "verify", "-f", str(path), "-o", "json").json["track"] == "devnet"


def test_each_tag_is_asked_about_and_one_that_moves_meanwhile_is_refused(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    tag, _ = desk.build()
    path = draft(desk, tag)
    resolve = steps._resolve
    rounds = []

    async def somebody_pushes_in_between(at: Bench, named: Any) -> dict[str, str]:
        found = await resolve(at, named)
        if not rounds:
            from tests.cluster.registry.rig import push_image

            await push_image(at.push, Reference.parse(tag).repository)
        rounds.append(found)
        return found

    monkeypatch.setattr(steps, "_resolve", somebody_pushes_in_between)
    line = desk.refused(1, "release", "create", "r1", "--from", str(path))
    assert f"the tag {tag} moved while the release was made (sha256:" in line
    assert len(rounds) == 2
    desk.ok("release", "create", "r1", "--from", str(path))


def test_images_of_the_command_line_take_the_place_of_the_drafts(desk: Desk) -> None:
    tag, pinned = desk.build()
    other, _ = desk.build()
    made = desk.ok(
        "release", "create", "r1", "--from", str(draft(desk, other)), "--image", f"cache={tag}", "--version", "2.0"
    ).yaml
    assert made["spec"]["images"]["cache"]["image"] == pinned
    assert made["spec"]["version"] == "2.0"
    words = [word for name in COMPONENTS for word in ("--image", f"{name}={tag}")]
    assert desk.ok("release", "create", "r1", "--version", "1", *words, "-o", "json").json["kind"] == "JILRelease"


def test_the_difference_of_two_releases_is_said_part_by_part(desk: Desk) -> None:
    one, other = desk.build()[1], desk.build()[1]
    old = created(desk, one, one)
    new = desk.folder / "r2.yaml"
    new.write_text(old.read_text().replace(f"image: {one}\n      needs", f"image: {other}\n      needs"))
    body = yaml.safe_load(old.read_text())
    body["spec"]["services"][0] |= {"image": {"image": other}, "replicas": 2}
    new.write_text(json.dumps(body))
    assert desk.ok("release", "diff", str(old), str(old)).out == "no difference\n"
    done = desk.jilctl("release", "diff", str(old), str(new), "-o", "json")
    assert done.code == 1
    assert done.json["differences"] == [
        {"what": "transfers.image", "old": one, "new": other},
        {"what": "transfers.replicas", "old": "1", "new": "2"},
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["release", "verify", "--track", "devnet"], "which release? give one of NAME"),
        (["release", "verify", "-f", "DRAFT", "--track", "devnet"], "is a tag, 127.0.0.1"),
        (["release", "verify", "-f", "POLICY", "--track", "devnet"], "is no JILRelease"),
        (["release", "verify", "-f", "/no/such", "--track", "devnet"], "cannot read /no/such"),
        (["release", "verify", "-f", "DRAFT"], "which track? add --track"),
        (["release", "verify", "r1", "--track", "devnet"], "no cluster to ask"),
        (["release", "sign", "--track", "devnet", "--key", "x", "--write"], "--write needs --file"),
        (["release", "create", "r1", "--version", "1"], "no image for broker, cache, database, health, validator"),
        (["release", "create", "r1", "--from", "DRAFT", "--image", "cache"], "wanted is COMPONENT_OR_SERVICE="),
        (
            ["release", "create", "r1", "--from", "DRAFT", "--image", "nosuch=x:1"],
            "no component or service of that name",
        ),
        (["release", "create", "R1", "--from", "DRAFT"], "'R1' is no name of a JILRelease"),
        (["release", "create", "r1", "--from", "POLICY"], "no image for"),
        (["release", "diff", "DRAFT", "DRAFT"], "is a tag, 127.0.0.1"),
    ],
)
def test_every_mistake_ends_in_one_line_that_says_what_to_do(desk: Desk, words: list[str], message: str) -> None:
    names = {
        "DRAFT": str(draft(desk, f"{desk.registry.host}/test/never-pushed:v1")),
        "POLICY": str(desk.folder / "policy.yaml"),
    }
    assert message in desk.refused(2, *(names.get(word, word) for word in words))
