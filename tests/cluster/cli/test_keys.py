"""Keys wherever they may be: made there, listed, exported, and used to sign a real image."""

from __future__ import annotations

import stat
import subprocess
from collections.abc import Iterator

import pytest
import yaml

from testbed.controlplane import ControlPlane
from tests.cluster.cli.desk import Desk

MODULE = "/usr/lib/softhsm/libsofthsm2.so"
PIN = "1234"
_ENTRY = ("--owner", "carol@example.com", "--role", "signer")


def signs(desk: Desk, key: str, entry: str, **environment: str) -> str:
    """Put an entry of the policy where it belongs and sign an image with its key; returns what verifies it."""
    desk.write_policy([*desk.entries(), *yaml.safe_load(entry)])
    _, pinned = desk.build()
    statement = str(desk.provenance(pinned))
    desk.ok("image", "sign", pinned, "--key", key, "--provenance", statement, **environment)
    found = desk.ok("image", "verify", pinned, "--track", "devnet", "-o", "json").json
    assert len(found["keys"]) == 1
    return str(found["keys"][0])


@pytest.mark.parametrize("algorithm", ["Ed25519", "ECDSA-P256"])
def test_a_key_is_made_in_an_encrypted_file_that_only_its_owner_reads(desk: Desk, algorithm: str) -> None:
    path = desk.folder / "carol.pem"
    generate = ["keys", "generate", "--key", str(path), "--id", "carol", "--algorithm", algorithm, *_ENTRY]
    entry = desk.ok(*generate).out
    assert "BEGIN ENCRYPTED PRIVATE KEY" in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "PRIVATE" not in entry
    assert signs(desk, str(path), entry) == "carol"
    content = path.read_bytes()
    assert "keys are never overwritten" in desk.refused(4, *generate)
    assert path.read_bytes() == content


def test_a_key_may_come_from_the_environment(desk: Desk) -> None:
    path = desk.folder / "carol.pem"
    entry = desk.ok("keys", "generate", "--key", str(path), "--id", "carol", "--no-password", *_ENTRY).out
    assert signs(desk, "env:SIGNING_KEY", entry, SIGNING_KEY=path.read_text()) == "carol"


def test_a_key_may_be_in_a_secret_of_a_cluster(desk: Desk, control_plane: ControlPlane, namespace: str) -> None:
    cluster = {"KUBECONFIG": str(control_plane.kubeconfig)}
    key = f"secret:{namespace}/release-key"
    generate = ["keys", "generate", "--key", key, "--id", "carol", *_ENTRY]
    entry = desk.ok(*generate, **cluster).out
    assert signs(desk, key, entry, **cluster) == "carol"
    assert "is there already" in desk.refused(4, *generate, **cluster)
    assert "has no entry 'x'; it has private.pem" in desk.refused(4, "keys", "export", "--key", f"{key}#x", **cluster)
    assert "not in this cluster" in desk.refused(2, "keys", "export", "--key", f"secret:{namespace}/none", **cluster)


@pytest.fixture(scope="session")
def softhsm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A token of SoftHSM: PKCS#11 as an HSM speaks it, kept in files. The module reads its settings once a process."""
    folder, label = tmp_path_factory.mktemp("softhsm"), "jil-test"
    (folder / "tokens").mkdir()
    (folder / "softhsm2.conf").write_text(f"directories.tokendir = {folder / 'tokens'}\nlog.level = ERROR\n")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("SOFTHSM2_CONF", str(folder / "softhsm2.conf"))
        command = ["softhsm2-util", "--init-token", "--free", "--label", label, "--pin", PIN, "--so-pin", "12345678"]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
        yield label


@pytest.mark.parametrize("algorithm", ["ECDSA-P256", "Ed25519"])
def test_a_key_in_a_pkcs11_token_signs_and_never_leaves_it(desk: Desk, softhsm: str, algorithm: str) -> None:
    token = f"pkcs11:token={softhsm}"
    label = f"carol-{algorithm}"
    key = f"{token};object={label}?module-path={MODULE}"
    generate = ["keys", "generate", "--key", key, "--id", "carol", "--algorithm", algorithm, *_ENTRY]
    entry = desk.ok(*generate, JIL_PIN=PIN).out
    assert signs(desk, key, entry, JIL_PIN=PIN) == "carol"
    listed = desk.ok("keys", "list", "--key", f"{token}?module-path={MODULE}", "-o", "json", JIL_PIN=PIN)
    assert label in listed.json["keys"]
    assert "is there already" in desk.refused(4, *generate, JIL_PIN=PIN)
    assert "the PIN is wrong" in desk.refused(4, "keys", "export", "--key", key, JIL_PIN="9999")
    missing = key.replace(label, "dave")
    assert "there is no private key 'dave'" in desk.refused(4, "keys", "export", "--key", missing, JIL_PIN=PIN)
    assert "has no token 'nope'" in desk.refused(
        4, "keys", "export", "--key", f"pkcs11:token=nope;object=x?module-path={MODULE}", JIL_PIN=PIN
    )
    assert "is no PKCS#11 module" in desk.refused(
        4, "keys", "export", "--key", f"{token};object=x?module-path=/no/such.so", JIL_PIN=PIN
    )
    pin = desk.folder / "pin"
    pin.write_text(PIN + "\n")
    exported = desk.ok("keys", "export", "--key", f"{key}&pin-source=file:{pin}").out
    assert exported == yaml.safe_load(entry)[0]["publicKey"]


def test_an_exported_entry_is_what_the_api_takes(desk: Desk) -> None:
    words = ["keys", "export", "--key", str(desk.key("alice"))]
    entry = desk.ok(*words, "--id", "alice", "--owner", "alice@example.com", "--role", "approver").yaml[0]
    mine = next(one for one in desk.entries() if one["id"] == "alice")
    assert {name: entry[name] for name in mine} == mine
    assert "needs all of --id, --owner and --role" in desk.refused(2, *words, "--id", "alice")
    line = desk.refused(2, *words, "--id", "ALICE", "--owner", "alice@example.com", "--role", "approver")
    assert "id: String should match pattern" in line


def test_the_policys_keys_are_listed_with_what_they_are_worth_now(desk: Desk) -> None:
    desk.change_key("alice", revokedAt="2026-01-01T00:00:00Z")
    desk.change_key("bob", notAfter="2026-01-01T00:00:00Z")
    rows = {row["id"]: row for row in desk.ok("keys", "list", "-o", "json").json["keys"]}
    assert {name: row["state"] for name, row in rows.items()} == {
        "ci": "valid",
        "release": "valid",
        "builder": "valid",
        "alice": "revoked",
        "bob": "expired",
        "boss": "valid",
    }
    assert "boss@example.com" in desk.ok("keys", "list").out


def test_a_key_without_password_must_be_asked_for(desk: Desk) -> None:
    generate = ["keys", "generate", "--key", str(desk.folder / "x.pem"), "--id", "x", *_ENTRY]
    assert "the password is empty" in desk.refused(4, *generate, JIL_KEY_PASSWORD="")
    del desk.environment["JIL_KEY_PASSWORD"]
    assert "set JIL_KEY_PASSWORD" in desk.refused(4, *generate)
    assert not (desk.folder / "x.pem").exists()
