"""What a node's login at the registry says, and when it is made anew."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from jil.plan.pull_login import LoginTerms, PullLogin, keeps, new_login, read_login, renewal

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
TERMS = LoginTerms("registry.example:5000", 3600)
LOGIN = new_login(TERMS, "CH-ZUG-01", NOW, "id-1")


def _after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def test_a_login_names_the_node_the_registry_and_an_hour() -> None:
    at = int(NOW.timestamp())
    assert LOGIN.claims() == {
        "iss": "jil-operator",
        "sub": "CH-ZUG-01",
        "aud": "registry.example:5000",
        "iat": at,
        "nbf": at - 60,
        "exp": at + 3600,
        "jti": "id-1",
    }
    assert LOGIN.user == "node/CH-ZUG-01"


def test_a_login_is_read_back_from_its_claims() -> None:
    assert read_login(LOGIN.claims()) == LOGIN


@pytest.mark.parametrize(
    "change",
    [
        {"iss": "somebody"},
        {"nbf": 0},
        {"exp": "soon"},
        {"exp": 1.5},
        {"exp": True},
        {"sub": None},
        {"aud": ["registry.example:5000"]},
        {"jti": 1},
        {"scope": "push"},
    ],
    ids=str,
)
def test_claims_that_we_would_not_write_are_no_login(change: dict[str, object]) -> None:
    assert read_login({**LOGIN.claims(), **change}) is None


@pytest.mark.parametrize("name", LOGIN.claims())
def test_a_claim_that_is_missing_makes_it_no_login(name: str) -> None:
    assert read_login({key: value for key, value in LOGIN.claims().items() if key != name}) is None


def test_a_young_login_is_kept_and_one_with_a_third_left_is_not() -> None:
    for seconds, kept in ((0, True), (1800, True), (2401, False), (3600, False), (86400, False)):
        assert keeps(LOGIN, TERMS, "CH-ZUG-01", _after(seconds)) is kept, seconds


def test_it_is_kept_until_the_second_of_its_renewal() -> None:
    due = datetime.fromtimestamp(renewal(LOGIN), UTC)
    assert keeps(LOGIN, TERMS, "CH-ZUG-01", due - timedelta(seconds=1))
    assert not keeps(LOGIN, TERMS, "CH-ZUG-01", due)


def test_nodes_renew_at_different_times_within_a_tenth_of_the_life() -> None:
    at = int(NOW.timestamp())
    dues = [renewal(new_login(TERMS, f"CH-ZUG-{n:02d}", NOW, "x")) - at for n in range(100)]
    assert all(2040 <= due <= 2400 for due in dues)
    assert len(set(dues)) > 50
    assert max(dues) - min(dues) > 300


@pytest.mark.parametrize(
    ("terms", "node"),
    [
        (LoginTerms("other.example", 3600), "CH-ZUG-01"),
        (LoginTerms("registry.example:5000", 600), "CH-ZUG-01"),
        (TERMS, "SG-MAS-01"),
    ],
    ids=["registry", "lifetime", "node"],
)
def test_a_login_by_other_terms_is_not_kept(terms: LoginTerms, node: str) -> None:
    assert not keeps(LOGIN, terms, node, NOW)


def test_a_login_from_the_future_is_not_kept() -> None:
    """A clock that was ahead for a while must not leave a login that holds for years."""
    assert keeps(LOGIN, TERMS, "CH-ZUG-01", _after(-59))
    assert not keeps(LOGIN, TERMS, "CH-ZUG-01", _after(-3600))
    years: PullLogin = replace(LOGIN, expires=LOGIN.expires + 10**8)
    assert not keeps(years, TERMS, "CH-ZUG-01", NOW)
