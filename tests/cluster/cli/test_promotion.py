"""AC-18: how many people each track takes, that none can be skipped, and that every step is in the audit log."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.cli.desk import COMMIT, Desk, Result
from tests.cluster.cli.test_release import created


@pytest.fixture
def log(desk: Desk) -> Path:
    """The audit log; every command of the desk writes to it from now on."""
    path = desk.folder / "audit.jsonl"
    desk.environment["JIL_AUDIT_LOG"] = str(path)
    return path


def lines(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def promote(desk: Desk, pinned: str, to: str) -> Result:
    return desk.jilctl("image", "promote", pinned, "--to", to, "--release", "r1", "--key", str(desk.key("release")))


def approve(desk: Desk, pinned: str, track: str, who: str) -> Result:
    return desk.jilctl(
        "image", "approve", pinned, "--track", track, "--release", "r1", "--key", str(desk.key(who)), "-o", "json"
    )


def test_ac_18_testnet_takes_one_approver_and_mainnet_two_different_ones_and_each_step_is_logged(
    desk: Desk, log: Path
) -> None:
    pinned = desk.signed()
    assert promote(desk, pinned, "testnet").code == 0
    assert desk.jilctl("image", "verify", pinned, "--track", "testnet", "--release", "r1").code == 1
    assert approve(desk, pinned, "testnet", "alice").json["now"]["verdict"] == "Verified"
    assert promote(desk, pinned, "mainnet").code == 0
    assert approve(desk, pinned, "mainnet", "alice").json["now"]["reason"] == "TooFewApprovals"
    # The same person again is not a second one.
    assert approve(desk, pinned, "mainnet", "alice").json["now"]["verdict"] == "Refused"
    assert approve(desk, pinned, "mainnet", "bob").json["now"]["verdict"] == "Verified"

    said = [(one["audit"]["action"], one["audit"]["track"], one["audit"]["owner"]) for one in lines(log)]
    assert said == [
        ("image.sign", "devnet", "ci@example.com"),
        ("image.promote", "testnet", "release@example.com"),
        ("image.approve", "testnet", "alice@example.com"),
        ("image.promote", "mainnet", "release@example.com"),
        ("image.approve", "mainnet", "alice@example.com"),
        ("image.approve", "mainnet", "alice@example.com"),
        ("image.approve", "mainnet", "bob@example.com"),
    ]
    first, last = lines(log)[0], lines(log)[-1]
    assert {"logger": "jil.audit", "level": "info", "message": "image.sign"}.items() <= first.items()
    assert (first["audit"]["outcome"], first["audit"]["commit"], first["audit"]["image"]) == ("done", COMMIT, pinned)
    assert last["audit"]["now"]["approvers"] == ["alice@example.com", "bob@example.com"]
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_ac_18_a_skipped_track_is_refused_and_the_attempt_is_logged(desk: Desk, log: Path) -> None:
    pinned = desk.signed()
    done = promote(desk, pinned, "mainnet")
    assert done.code == 1
    assert f"Missing: `jilctl image promote {pinned} --to testnet`" in done.err
    audit = lines(log)[-1]["audit"]
    assert (audit["action"], audit["outcome"], audit["track"]) == ("image.promote", "refused", "mainnet")
    assert audit["owner"] == "release@example.com"
    assert "not verified on testnet" in audit["error"]
    assert desk.jilctl("image", "verify", pinned, "--track", "mainnet", "--release", "r1").code == 1


def test_ac_18_a_release_that_is_signed_and_approved_is_logged_with_its_manifest(desk: Desk, log: Path) -> None:
    path = created(desk, desk.signed())
    words = ["release", "sign", "--file", str(path), "--track", "devnet", "--write"]
    desk.ok(*words, "--key", str(desk.key("release")))
    desk.ok(*words, "--approve", "--key", str(desk.key("alice")))
    audits = [one["audit"] for one in lines(log) if one["audit"]["action"].startswith("release.")]
    assert [(one["action"], one["owner"], one["outcome"]) for one in audits] == [
        ("release.sign", "release@example.com", "done"),
        ("release.approve", "alice@example.com", "done"),
    ]
    assert audits[0]["manifest"] == audits[1]["manifest"]
    assert audits[0]["manifest"].startswith("sha256:")


def test_where_no_line_can_be_written_nothing_is_signed(desk: Desk) -> None:
    _, pinned = desk.build()
    words = ["image", "sign", pinned, "--key", str(desk.key("ci")), "--provenance", str(desk.provenance(pinned))]
    full = str(desk.folder / "missing" / "audit.jsonl")
    line = desk.refused(2, *words, "--audit-log", full)
    assert (
        line
        == f"jilctl: --audit-log {full}: No such file or directory; nothing was signed. Name a file that can be written"
    )
    assert desk.jilctl("image", "verify", pinned, "--track", "devnet").code == 1
    desk.ok(*words)


def test_a_log_that_becomes_full_is_said_with_the_line_that_is_missing_from_it(desk: Desk) -> None:
    _, pinned = desk.build()
    words = ["image", "sign", pinned, "--key", str(desk.key("ci")), "--provenance", str(desk.provenance(pinned))]
    line = desk.refused(70, *words, "--audit-log", "/dev/full")
    assert "the line could not be written (No space left on device): image.sign was done; write this down" in line
    assert pinned in line


def test_a_key_that_does_not_open_is_a_failed_attempt(desk: Desk, log: Path) -> None:
    _, pinned = desk.build()
    words = ["image", "sign", pinned, "--key", str(desk.key("ci")), "--provenance", str(desk.provenance(pinned))]
    assert desk.jilctl(*words, JIL_KEY_PASSWORD="hunter2").code == 4
    audit = lines(log)[-1]["audit"]
    assert (audit["action"], audit["outcome"]) == ("image.sign", "failed")
    assert "hunter2" not in json.dumps(audit)
