"""How keys, times and results are written on the command line."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
import yaml

from jil.api.trust import Track
from jil.cli import output
from jil.cli.exits import Exit, Stop
from jil.cli.keystore.source import KeySource, Where, parse
from jil.cli.options import Format, moment
from jil.cli.steps.bench import why
from jil.trust.verdict import RefusalReason, Refused

NOW = datetime(2026, 11, 21, 18, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("key.pem", KeySource(Where.FILE, "key.pem")),
        ("file:key.pem", KeySource(Where.FILE, "key.pem")),
        ("C:key.pem", KeySource(Where.FILE, "C:key.pem")),
        ("env:SIGNING_KEY", KeySource(Where.ENVIRONMENT, "SIGNING_KEY")),
        ("secret:ns/name", KeySource(Where.SECRET, "ns/name", {"entry": "private.pem"})),
        ("secret:ns/name#tls.key", KeySource(Where.SECRET, "ns/name", {"entry": "tls.key"})),
        (
            "pkcs11:token=My%20HSM;object=release;type=private?module-path=/m.so&pin-source=file:/pin",
            KeySource(
                Where.PKCS11,
                "release",
                {"token": "My HSM", "module-path": "/m.so", "pin-source": "file:/pin"},
            ),
        ),
    ],
)
def test_a_key_is_named_by_where_it_is(text: str, source: KeySource) -> None:
    assert parse(text) == source


@pytest.mark.parametrize(
    "text",
    [
        "",
        "file:",
        "env:not a name",
        "secret:name",
        "secret:NS/name",
        "pkcs11:object=x",
        "pkcs11:token=a;token=b",
        "pkcs11:token=a;pin-value=1234",
        "pkcs11:token=a;object=x;type=public",
    ],
)
def test_a_name_of_no_key_is_a_mistake_in_the_command(text: str) -> None:
    with pytest.raises(Stop) as caught:
        parse(text)
    assert caught.value.code is Exit.USAGE


@pytest.mark.parametrize(
    ("text", "when"),
    [
        ("30d", NOW + timedelta(days=30)),
        ("12h", NOW + timedelta(hours=12)),
        ("4w", NOW + timedelta(weeks=4)),
        ("2026-12-31T00:00:00Z", datetime(2026, 12, 31, tzinfo=UTC)),
        ("2026-12-31T02:00:00+02:00", datetime(2026, 12, 31, tzinfo=UTC)),
    ],
)
def test_a_time_is_a_span_from_now_or_a_moment_with_a_zone(text: str, when: datetime) -> None:
    assert moment(text, NOW) == when


@pytest.mark.parametrize("text", ["", "30", "d", "-1d", "999999w", "2026-12-31", "2026-12-31T00:00:00", "tomorrow"])
def test_what_is_no_time_is_a_mistake_in_the_command(text: str) -> None:
    with pytest.raises(Stop, match="is no time"):
        moment(text, NOW)


@dataclass(frozen=True)
class _Thing:
    signed_at: datetime
    track: Track
    names: tuple[str, ...]
    none: None = None


def test_json_and_yaml_hold_the_same_plain_values() -> None:
    data = {"thing": _Thing(NOW, Track.TESTNET, ("a", "b")), "pem": "-----BEGIN\nabc\n", "n": 1}
    wanted = {
        "thing": {"signedAt": "2026-11-21T18:00:00Z", "track": "testnet", "names": ["a", "b"], "none": None},
        "pem": "-----BEGIN\nabc\n",
        "n": 1,
    }
    assert json.loads(output.text(Format.JSON, data)) == wanted
    assert yaml.safe_load(output.text(Format.YAML, data)) == wanted
    assert "pem: |" in output.text(Format.YAML, data)


def test_what_a_registry_says_cannot_paint_the_terminal() -> None:
    """Markup and escape sequences in names and messages are text."""
    refused = Refused("sha256:x", RefusalReason.UNSIGNED, "rule", "image [green]Verified[/] is refused: it is (rule x)")
    assert r"\[green]Verified" in output.verdict_line(refused)
    stderr = io.StringIO()
    output.error(Stop("a\x1b[2Jb\nc\u202ed"), Format.TABLE, stderr)
    assert stderr.getvalue() == "jilctl: a\ufffd[2Jb\ufffdc\ufffdd\n"


def test_the_middle_of_a_refusal_is_what_is_wrong() -> None:
    head = "image r.example:5000/a@sha256:1 is refused on devnet for release r1"
    message = f"{head}: no signature is attached to it (rule tracks[devnet].signatures). To see why: jilctl"
    assert why(Refused("d", RefusalReason.UNSIGNED, "r", message)) == "no signature is attached to it"
    assert why(Refused("d", RefusalReason.UNSIGNED, "r", "something else")) == "something else"
