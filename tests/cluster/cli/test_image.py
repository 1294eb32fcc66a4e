"""``jilctl image``, end to end against a real registry: the way of an image through the tracks, and every wrong turn."""

from __future__ import annotations

import pytest

from tests.cluster.cli.desk import COMMIT, Desk


def test_an_image_goes_through_all_tracks_and_only_adds_to_what_is_there(desk: Desk) -> None:
    tag, pinned = desk.build()
    statement = str(desk.provenance(pinned))
    done = desk.ok("image", "sign", tag, "--key", str(desk.key("ci")), "--provenance", statement, "-o", "json")
    assert (done.json["image"], done.json["commit"], done.json["now"]["verdict"]) == (pinned, COMMIT, "Verified")
    assert len(done.json["attached"]) == 2  # the provenance and the signature
    desk.ok("image", "promote", tag, "--to", "testnet", "--key", str(desk.key("release")))
    desk.approve(tag, "testnet", "alice")
    desk.ok("image", "promote", tag, "--to", "mainnet", "--release", "r1", "--key", str(desk.key("release")))
    desk.approve(tag, "mainnet", "alice")
    before = desk.jilctl("image", "verify", tag, "--track", "mainnet", "--release", "r1", "-o", "json")
    assert (before.code, before.json["reason"]) == (1, "TooFewApprovals")
    desk.approve(tag, "mainnet", "bob")
    found = desk.ok("image", "verify", tag, "--track", "mainnet", "--release", "r1", "-o", "yaml").yaml
    assert found["approvers"] == ["alice@example.com", "bob@example.com"]
    assert found["keys"] == ["release"]
    for track in ("devnet", "testnet"):
        desk.ok("image", "verify", tag, "--track", track, "--release", "r1")


@pytest.mark.parametrize("form", ["bundle", "cosign"])
def test_formats_that_cosign_verifies_hold_as_well(desk: Desk, form: str) -> None:
    _, pinned = desk.build()
    statement, key = str(desk.provenance(pinned)), str(desk.key("release"))
    done = desk.ok("image", "sign", pinned, "--key", key, "--provenance", statement, "--format", form, "-o", "json")
    assert done.json["now"]["formats"] == [form]
    done = desk.ok("image", "promote", pinned, "--to", "testnet", "--key", key, "--format", form, "-o", "json")
    assert (done.json["commit"], done.json["now"]["reason"]) == (COMMIT, "TooFewApprovals")
    desk.ok("image", "verify", pinned, "--track", "devnet")


def test_the_chain_shows_who_stated_what_and_what_is_missing(desk: Desk) -> None:
    pinned = desk.promoted()
    shown = desk.ok("image", "inspect", pinned).out
    for text in (
        "✔ provenance by builder (builder@example.com)",
        "✔ signature by ci (ci@example.com)",
        "✔ signature by release (release@example.com)",
        "✔ approval by alice (alice@example.com)",
        "→ release r1: Verified",
        "→ WrongTrack",
    ):
        assert text in shown, shown
    found = desk.ok("image", "inspect", pinned, "-o", "json").json
    assert [one["kind"] for one in found["statements"]] == ["provenance", "signature", "signature", "approval"]
    verdicts = {one["track"]: one["verdict"] for one in found["verdicts"]}
    assert verdicts == {"devnet": "Verified", "testnet": "Verified", "mainnet": "Refused"}


def test_without_a_policy_the_chain_is_shown_and_said_to_be_unchecked(desk: Desk) -> None:
    pinned = desk.signed()
    del desk.environment["JIL_POLICY"]
    shown = desk.ok("image", "inspect", pinned).out
    assert "nothing below is checked" in shown
    assert "? signature by ci" in shown
    assert desk.ok("image", "inspect", pinned, "-o", "json").json["checked"] is False


def test_an_unsigned_image_is_refused_and_its_signed_twin_is_verified(desk: Desk) -> None:
    _, unsigned = desk.build()
    done = desk.jilctl("image", "verify", unsigned, "--track", "devnet", "-o", "json")
    assert (done.code, done.json["reason"], done.json["rule"]) == (1, "Unsigned", "tracks[devnet].signatures")
    desk.ok("image", "verify", desk.signed(), "--track", "devnet")


# ---- provenance before a signature


def test_nothing_is_signed_without_provenance(desk: Desk) -> None:
    _, pinned = desk.build()
    line = desk.refused(1, "image", "sign", pinned, "--key", str(desk.key("ci")))
    assert "has no provenance that counts, so it is not signed: none was given and none is attached" in line
    assert desk.jilctl("image", "verify", pinned, "--track", "devnet", "-o", "json").json["reason"] == "Unsigned"


@pytest.mark.parametrize(
    ("fields", "options", "message"),
    [
        ({"digest": f"sha256:{'0' * 64}"}, (), "about another digest"),
        ({"repository": "registry.example.com/other/app"}, (), "is about 'registry.example.com/other/app'"),
        ({"signer": "ci"}, (), "no key of the policy made it"),
        ({}, ("--commit", "f" * 40), "is about commit 0123456789abcdef"),
        ({}, ("--commit", "0123456"), "is not a whole git commit"),
    ],
    ids=["another digest", "another repository", "no builder", "another commit", "short commit"],
)
def test_provenance_that_does_not_fit_is_no_provenance(
    desk: Desk, fields: dict[str, str], options: tuple[str, ...], message: str
) -> None:
    _, pinned = desk.build()
    statement = str(desk.provenance(pinned, **fields))
    words = ["image", "sign", pinned, "--key", str(desk.key("ci")), "--provenance", statement]
    assert message in desk.refused(1, *words, *options)
    desk.ok(*words[:-1], str(desk.provenance(pinned)))


def test_a_tag_that_names_a_commit_must_be_that_of_the_build(desk: Desk) -> None:
    tag, pinned = desk.build(tag="deadbeef")
    words = ["image", "sign", tag, "--key", str(desk.key("ci")), "--provenance", str(desk.provenance(pinned))]
    assert "the tag deadbeef names another commit" in desk.refused(1, *words)
    tag, pinned = desk.build(tag=COMMIT[:12])
    words = ["image", "sign", tag, "--key", str(desk.key("ci")), "--provenance", str(desk.provenance(pinned))]
    desk.ok(*words)


def test_the_provenance_of_a_revoked_builder_does_not_count(desk: Desk) -> None:
    _, pinned = desk.build()
    words = ["image", "sign", pinned, "--key", str(desk.key("ci")), "--provenance", str(desk.provenance(pinned))]
    desk.change_key("builder", revokedAt="2026-01-01T00:00:00Z")
    assert "builder is revoked as compromised" in desk.refused(1, *words)


# ---- who may do what, and in which order


def test_a_skipped_track_is_refused_and_the_missing_step_is_named(desk: Desk) -> None:
    key = str(desk.key("release"))
    _, fresh = desk.build()
    words = ["image", "sign", fresh, "--key", key, "--provenance", str(desk.provenance(fresh)), "--track", "mainnet"]
    assert "begins on devnet and is promoted from there" in desk.refused(1, *words)
    line = desk.refused(1, "image", "promote", fresh, "--to", "testnet", "--key", key)
    assert f"Missing: `jilctl image sign {fresh}`" in line

    pinned = desk.signed()
    line = desk.refused(1, "image", "promote", pinned, "--to", "mainnet", "--release", "r1", "--key", key)
    assert (
        f"cannot go to mainnet: it is not verified on testnet. Missing: `jilctl image promote {pinned} --to testnet`"
        in line
    )
    desk.ok("image", "promote", pinned, "--to", "testnet", "--key", key)
    line = desk.refused(1, "image", "promote", pinned, "--to", "mainnet", "--release", "r1", "--key", key)
    assert f"Missing: `jilctl image approve {pinned} --track testnet --release r1`" in line
    desk.approve(pinned, "testnet", "alice")
    line = desk.refused(1, "image", "promote", pinned, "--to", "mainnet", "--key", key)
    assert "Missing: `--release r1` here: an approval is for one release, and on testnet there are some for r1" in line
    desk.ok("image", "promote", pinned, "--to", "mainnet", "--release", "r1", "--key", key)


def test_a_pipelines_key_signs_for_devnet_and_promotes_nothing(desk: Desk) -> None:
    pinned = desk.signed()
    line = desk.refused(1, "image", "promote", pinned, "--to", "testnet", "--key", str(desk.key("ci")))
    assert "ci cannot sign for testnet: ci has role ci, which signs for devnet only" in line


def test_who_signed_cannot_approve_and_there_must_be_something_to_approve(desk: Desk) -> None:
    pinned = desk.signed()
    approve = ["image", "approve", pinned, "--track", "testnet", "--release", "r1", "--key"]
    assert "is not signed for testnet, so there is nothing to approve" in desk.refused(
        1, *approve, str(desk.key("alice"))
    )
    desk.ok("image", "promote", pinned, "--to", "testnet", "--key", str(desk.key("boss")))
    assert "boss@example.com signed" in desk.refused(1, *approve, str(desk.key("boss")))
    assert "release has no role approver" in desk.refused(1, *approve, str(desk.key("release")))
    line = desk.refused(1, *approve, str(desk.key("alice")), "--expires", "2026-01-01T00:00:00Z")
    assert "would have expired already" in line


def test_a_key_that_the_policy_does_not_know_signs_nothing(desk: Desk) -> None:
    _, pinned = desk.build()
    key = str(desk.folder / "new.pem")
    desk.ok("keys", "generate", "--key", key, "--id", "new", "--owner", "new@example.com", "--role", "signer")
    words = ["image", "sign", pinned, "--key", key, "--provenance", str(desk.provenance(pinned))]
    assert "the policy does not know this key" in desk.refused(1, *words)


def test_a_mainnet_that_asks_for_an_hsm_refuses_a_key_in_a_file_before_it_signs(desk: Desk) -> None:
    pinned = desk.promoted()
    tracks = [
        {"track": "testnet", "approvals": 1},
        {"track": "mainnet", "approvals": 2, "custody": "hsm"},
    ]
    desk.write_policy(desk.entries(), tracks=tracks)
    promote = ["image", "promote", pinned, "--to", "mainnet", "--release", "r1", "--key", str(desk.key("release"))]
    assert "release is kept in file, and mainnet asks for hsm" in desk.refused(1, *promote)
    desk.change_key("release", custody="hsm")
    desk.ok(*promote)


def test_an_image_of_a_repository_that_may_not_run_is_not_signed(desk: Desk) -> None:
    desk.write_policy(desk.entries(), repositories=["registry.example.com/jil/"])
    _, pinned = desk.build()
    words = ["image", "sign", pinned, "--key", str(desk.key("ci")), "--provenance", str(desk.provenance(pinned))]
    assert "push it to one of registry.example.com/jil/" in desk.refused(1, *words)


# ---- what a person gets wrong


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["image", "verify", "IMAGE"], 2, "which track? add --track"),
        (["image", "verify", "REPOSITORY", "--track", "devnet"], 2, "give a tag"),
        (["image", "verify", "REPOSITORY:none", "--track", "devnet"], 3, "not there"),
        (["image", "verify", "Not An Image", "--track", "devnet"], 2, "is not the name of an image"),
        (["image", "verify", "IMAGE", "--track", "devnet", "--ca", "/no/such"], 2, "--ca: cannot read /no/such"),
        (["image", "verify", "IMAGE", "--track", "devnet", "--policy", "/no/such"], 2, "cannot read /no/such"),
        (["image", "verify", "IMAGE", "--track", "devnet", "--network", "n1"], 2, "give one of --network"),
        (["image", "verify", "IMAGE", "--track", "devnet", "--client-key", "/x"], 2, "come together"),
        (["image", "verify", "IMAGE", "--track", "devnet", "--endpoint", "x"], 2, "wanted is REGISTRY=URL"),
        (["image", "sign", "IMAGE", "--key", "/no/such.pem"], 4, "cannot read the key /no/such.pem"),
        (["image", "sign", "IMAGE", "--key", "env:NO_SUCH"], 4, "the environment has no variable NO_SUCH"),
        (["image", "sign", "IMAGE", "--key", "secret:x"], 2, "secret:NAMESPACE/NAME"),
        (["image", "sign", "IMAGE", "--key", "pkcs11:object=x"], 2, "names no token"),
        (["image", "sign", "IMAGE", "--key", "secret:a/b"], 2, "no cluster to ask"),
        (
            ["image", "sign", "IMAGE", "--key", "CI", "--provenance", "/no/such"],
            2,
            "--provenance: cannot read /no/such",
        ),
        (["image", "promote", "IMAGE", "--to", "devnet", "--key", "CI"], 1, "devnet is the first track"),
        (
            ["image", "approve", "IMAGE", "--track", "testnet", "--release", "r", "--key", "CI", "--expires", "x"],
            2,
            "no time",
        ),
    ],
)
def test_every_mistake_ends_in_one_line_that_says_what_to_do(
    desk: Desk, words: list[str], code: int, message: str
) -> None:
    pinned = f"{desk.registry.host}/test/never-pushed@sha256:{'0' * 64}"
    names = {
        "IMAGE": pinned,
        "REPOSITORY": pinned.partition("@")[0],
        "REPOSITORY:none": pinned.partition("@")[0] + ":none",
        "CI": str(desk.key("ci")),
    }
    assert message in desk.refused(code, *(names.get(word, word) for word in words))


def test_wrong_passwords_and_wrong_files_are_told_without_what_they_hold(desk: Desk) -> None:
    pinned = f"{desk.registry.host}/test/never-pushed@sha256:{'0' * 64}"
    key = desk.key("ci")
    sign = ["image", "sign", pinned, "--key", str(key)]
    line = desk.refused(4, *sign, JIL_KEY_PASSWORD="wrong-horse")
    assert "the password is wrong" in line
    assert "wrong-horse" not in line
    key.chmod(0o644)
    assert f"chmod 600 {key}" in desk.refused(4, *sign)
    for content, message in (
        ("nonsense", "it is not a private key in PEM"),
        ("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n", "cosign import-key-pair"),
        ("-----BEGIN PUBLIC KEY-----\n", "signing needs the private one"),
    ):
        assert message in desk.refused(4, "image", "sign", pinned, "--key", "env:MY_KEY", MY_KEY=content)


def test_a_registry_that_cannot_be_reached_is_unknown_and_has_a_code_of_its_own(desk: Desk) -> None:
    done = desk.jilctl(
        "image", "verify", f"127.0.0.1:1/x/y@sha256:{'0' * 64}", "--track", "devnet", "-o", "json", JIL_REGISTRY_CA=""
    )
    assert (done.code, done.json["error"]["code"]) == (3, 3)
    assert "cannot connect to" in done.json["error"]["message"]
    line = desk.refused(3, "image", "verify", desk.build()[1], "--track", "devnet", DOCKER_CONFIG="/none")
    assert "none are known for it" in line


def test_credentials_may_come_from_the_environment(desk: Desk) -> None:
    _, pinned = desk.build()
    words = ["image", "inspect", pinned]
    desk.ok(*words, DOCKER_CONFIG="/none", JIL_REGISTRY_USER="ci", JIL_REGISTRY_PASSWORD="loopback-only")


def test_a_registry_may_be_reached_under_another_address_than_its_images_name(desk: Desk) -> None:
    """As from outside a cluster: what is signed is the name that the nodes pull by."""
    _, pushed = desk.build()
    pinned = pushed.replace(desk.registry.host, "registry.example.com")
    desk.write_policy(desk.entries(), repositories=["registry.example.com/test/"])
    there = ["--endpoint", f"registry.example.com={desk.registry.url}"]
    login = {"JIL_REGISTRY_USER": "ci", "JIL_REGISTRY_PASSWORD": "loopback-only"}
    words = ["image", "sign", pinned, "--key", str(desk.key("ci")), "--provenance", str(desk.provenance(pinned))]
    desk.ok(*words, *there, **login)
    desk.ok("image", "verify", pinned, "--track", "devnet", *there, **login)
    desk.write_policy(desk.entries())
    done = desk.jilctl("image", "verify", pushed, "--track", "devnet", "-o", "json")
    assert done.json["reason"] == "WrongRepository"
