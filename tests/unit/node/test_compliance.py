"""The pushed compliance config: taken up without a restart, never replaced by something unusable."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from jil.node.compliance import LARGEST_FILE, ComplianceFile, InvalidConfigError, parse_content
from jil.node.transfers.rules import LIMIT_KEY, NO_POLICY, Policy, interpret

START = datetime(2026, 11, 21, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "compliance.json"


def file_at(path: Path, clock: Clock | None = None) -> ComplianceFile[Policy]:
    return ComplianceFile(path, interpret, now=clock or Clock())


def test_a_changed_file_takes_effect_and_an_unchanged_one_keeps_its_time(path: Path) -> None:
    clock = Clock()
    file = file_at(path, clock)
    path.write_text('{"transferLimit": "5"}')
    file.read()
    clock.now += timedelta(minutes=1)
    file.read()
    assert file.loaded().policy == Policy(5)
    assert file.loaded().since == START
    path.write_text('{"transferLimit": "6"}')
    file.read()
    assert file.loaded().policy == Policy(6)
    assert file.loaded().since == START + timedelta(minutes=1)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "EOF"),
        ("[]", "JSON object of strings"),
        ('{"transferLimit": 5}', "transferLimit: Input should be a valid string"),
        ('{"transferLimit": "5.0"}', "must be a whole number of minor units"),
        ('{"transferLimit": "-5"}', "must be a whole number"),
        ('{"transferLimit": "٥"}', "must be a whole number"),
        ('{"transferLimit": ""}', "must be a whole number"),
        ('{"transferLimit": "9007199254740992"}', "from 0 to 9007199254740991"),
        ('{"%s": "x"}' % ("k" * 65), "at most 64"),
        ('{"k": "%s"}' % ("x" * 1025), "at most 1024"),
    ],
)
def test_an_unusable_file_never_replaces_a_good_one(path: Path, content: str, reason: str) -> None:
    file = file_at(path)
    path.write_text('{"transferLimit": "5"}')
    file.read()
    path.write_text(content)
    file.read()
    loaded = file.loaded()
    assert loaded.policy == Policy(5)
    assert loaded.since == START
    assert loaded.error is not None
    assert reason in loaded.error
    assert str(path) in loaded.error


def test_a_file_that_becomes_good_again_is_taken_up_even_with_the_same_content(path: Path) -> None:
    file = file_at(path)
    for content in ('{"transferLimit": "5"}', "broken", '{"transferLimit": "5"}'):
        path.write_text(content)
        file.read()
    assert file.loaded().policy == Policy(5)
    assert file.loaded().error is None


def test_a_file_that_vanishes_leaves_the_last_good_config_in_force(path: Path) -> None:
    file = file_at(path)
    path.write_text("{}")
    file.read()
    path.unlink()
    file.read()
    assert file.loaded().policy == NO_POLICY
    assert "cannot be read: No such file" in (file.loaded().error or "")


def test_before_any_good_file_nothing_is_in_force(path: Path) -> None:
    file = file_at(path)
    assert file.loaded().policy is None
    file.read()
    assert file.loaded().policy is None
    assert "cannot be read" in (file.loaded().error or "")


def test_a_file_larger_than_a_config_map_can_be_is_refused(path: Path) -> None:
    file = file_at(path)
    path.write_bytes(b" " * (LARGEST_FILE + 1))
    file.read()
    assert "larger than" in (file.loaded().error or "")


def test_the_kubelets_way_of_replacing_a_file_is_seen(tmp_path: Path) -> None:
    """A ConfigMap volume is a link to a folder that is exchanged as a whole."""
    for number in (1, 2):
        folder = tmp_path / f"..{number}"
        folder.mkdir()
        (folder / "compliance.json").write_text(f'{{"transferLimit": "{number}"}}')
    data = tmp_path / "..data"
    data.symlink_to("..1")
    (tmp_path / "compliance.json").symlink_to("..data/compliance.json")
    file = file_at(tmp_path / "compliance.json")
    file.read()
    fresh = tmp_path / "..data_tmp"
    fresh.symlink_to("..2")
    fresh.replace(data)
    file.read()
    assert file.loaded().policy == Policy(2)


def test_keys_of_other_services_are_ignored() -> None:
    assert interpret({"feeSchedule": "x", LIMIT_KEY: "7"}) == Policy(7)
    assert interpret({}) == NO_POLICY
    assert interpret({LIMIT_KEY: "0"}) == Policy(0)


def test_a_map_of_strings_is_what_a_config_is() -> None:
    content: Mapping[str, str] = parse_content(b'{"a": "1", "b": ""}')
    assert content == {"a": "1", "b": ""}
    with pytest.raises(InvalidConfigError):
        parse_content(b'{"a": null}')
