"""May a transfer be booked? The decision alone, without a database."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from jil.node.problem import Problem
from jil.node.transfers.model import LARGEST_AMOUNT, Account, OpenAccount, TransferRequest
from jil.node.transfers.rules import NO_POLICY, Booking, Policy, decide


def account(name: str, balance: int, currency: str = "CHF", version: int = 1) -> Account:
    return Account(id=name, currency=currency, balance=balance, version=version)


def request(amount: int = 10, **more: Any) -> TransferRequest:
    fields: dict[str, Any] = {"from": "a", "to": "b", "amount": amount, "idempotencyKey": "k"}
    return TransferRequest(**(fields | more))


def decision(asked: TransferRequest, *accounts: Account, policy: Policy = NO_POLICY) -> Booking | Problem:
    return decide(asked, {one.id: one for one in accounts}, policy)


def refused(asked: TransferRequest, *accounts: Account, policy: Policy = NO_POLICY) -> Problem:
    problem = decision(asked, *accounts, policy=policy)
    assert isinstance(problem, Problem)
    assert problem.detail
    assert problem.remedy
    return problem


def test_a_booking_debits_one_account_credits_the_other_and_counts_their_versions() -> None:
    booking = decision(request(10), account("a", 100, version=4), account("b", 5, version=9))
    assert booking == Booking(debited=account("a", 90, version=5), credited=account("b", 15, version=10))


def test_the_whole_balance_may_be_transferred_and_not_one_unit_more() -> None:
    assert isinstance(decision(request(100), account("a", 100), account("b", 0)), Booking)
    problem = refused(request(101), account("a", 100), account("b", 0))
    assert (problem.slug, problem.more) == ("insufficient-funds", {"balance": 100})


def test_the_limit_itself_is_allowed_and_one_unit_more_is_not() -> None:
    accounts = (account("a", 1000), account("b", 0))
    assert isinstance(decision(request(50), *accounts, policy=Policy(50)), Booking)
    problem = refused(request(51), *accounts, policy=Policy(50))
    assert (problem.slug, problem.more) == ("transfer-limit-exceeded", {"limit": 50})
    assert "spec.compliance.transferLimit" in problem.remedy


def test_a_limit_of_zero_stops_all_transfers() -> None:
    assert refused(request(1), account("a", 10), account("b", 0), policy=Policy(0)).slug == "transfer-limit-exceeded"


def test_accounts_that_do_not_exist_are_named() -> None:
    assert refused(request(), account("a", 10)).more == {"accounts": ["b"]}
    assert refused(request()).more == {"accounts": ["a", "b"]}


@pytest.mark.parametrize(("credit", "asked"), [("EUR", None), ("CHF", "EUR"), ("EUR", "CHF"), ("EUR", "EUR")])
def test_currencies_are_never_mixed(credit: str, asked: str | None) -> None:
    problem = refused(request(currency=asked), account("a", 100), account("b", 0, credit))
    assert problem.slug == "currency-mismatch"


def test_a_balance_never_exceeds_what_every_json_reader_keeps_exact() -> None:
    full = account("b", LARGEST_AMOUNT - 9)
    assert isinstance(decision(request(9), account("a", 100), full), Booking)
    assert refused(request(10), account("a", 100), full).slug == "balance-too-large"


amounts = st.integers(min_value=1, max_value=LARGEST_AMOUNT)
balances = st.integers(min_value=0, max_value=LARGEST_AMOUNT)


@given(amount=amounts, debit=balances, credit=balances, limit=st.none() | balances)
def test_no_decision_makes_or_loses_money_or_breaks_a_bound(
    amount: int, debit: int, credit: int, limit: int | None
) -> None:
    made = decision(request(amount), account("a", debit), account("b", credit), policy=Policy(limit))
    if isinstance(made, Booking):
        assert made.debited.balance + made.credited.balance == debit + credit
        assert made.debited.balance >= 0
        assert made.credited.balance <= LARGEST_AMOUNT
        assert limit is None or amount <= limit


def test_the_digest_is_the_same_for_every_spelling_and_another_for_every_other_request() -> None:
    text = '{"to": "b", "amount": 10, "idempotencyKey": "other", "from": "a"}'
    assert TransferRequest.model_validate_json(text).digest() == request().digest()
    others = [request(11), request(currency="CHF"), request(10, **{"to": "c"}), request(10, **{"from": "c"})]
    assert len({request().digest(), *(other.digest() for other in others)}) == 5


@pytest.mark.parametrize("name", ["", "a b", "-a", "a/b", "a" * 65, "ä", "a\n"])
def test_an_account_id_is_short_and_plain(name: str) -> None:
    with pytest.raises(ValidationError):
        OpenAccount(id=name, currency="CHF")


@pytest.mark.parametrize("amount", [0, -1, 1.0, "1", True, 2**53, None])
def test_an_amount_is_a_positive_integer(amount: object) -> None:
    with pytest.raises(ValidationError):
        request(amount)  # type: ignore[arg-type]
