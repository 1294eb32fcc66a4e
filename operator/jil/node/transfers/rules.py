"""May this transfer be booked? Pure: request, accounts and policy in, the new balances or a refusal out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from jil.node.compliance import InvalidConfigError
from jil.node.problem import Problem
from jil.node.transfers.model import LARGEST_AMOUNT, Account, TransferRequest

#: Key in the pushed compliance config: the largest amount of one transfer, in minor units, as decimal text.
LIMIT_KEY = "transferLimit"


@dataclass(frozen=True)
class Policy:
    """What the jurisdiction allows. ``transfer_limit`` None: no limit is set."""

    transfer_limit: int | None = None


NO_POLICY = Policy()


def interpret(config: Mapping[str, str]) -> Policy:
    """The policy in a compliance config; keys of other services are none of ours. Raises InvalidConfigError."""
    text = config.get(LIMIT_KEY)
    if text is None:
        return NO_POLICY
    if not (text.isascii() and text.isdigit()) or int(text) > LARGEST_AMOUNT:
        raise InvalidConfigError(
            f"{LIMIT_KEY} must be a whole number of minor units from 0 to {LARGEST_AMOUNT} written in digits, "
            f"it is {text[:40]!r}"
        )
    return Policy(transfer_limit=int(text))


@dataclass(frozen=True)
class Booking:
    """The accounts as they are after the transfer."""

    debited: Account
    credited: Account


def decide(request: TransferRequest, accounts: Mapping[str, Account], policy: Policy) -> Booking | Problem:
    """Book or refuse. ``accounts``: those of the request's two that exist, as locked in the transaction."""
    missing = [name for name in (request.from_account, request.to_account) if name not in accounts]
    if missing:
        return Problem(
            422,
            "unknown-account",
            "An account of the transfer does not exist on this node",
            detail=f"no such account: {', '.join(missing)}",
            remedy="open the account with POST /accounts, then send the transfer with a new idempotencyKey",
            more={"accounts": missing},
        )
    debit, credit = accounts[request.from_account], accounts[request.to_account]
    currencies = {debit.currency, credit.currency} | ({request.currency} if request.currency else set())
    if len(currencies) > 1:
        return Problem(
            422,
            "currency-mismatch",
            "The currencies of the transfer differ",
            detail=f"from is in {debit.currency}, to is in {credit.currency}, asked for {request.currency or 'none'}",
            remedy="transfer between accounts of one currency and name no other in `currency`",
        )
    if policy.transfer_limit is not None and request.amount > policy.transfer_limit:
        return Problem(
            422,
            "transfer-limit-exceeded",
            "The jurisdiction's limit for one transfer is lower",
            detail=f"amount {request.amount} exceeds the limit of {policy.transfer_limit}",
            remedy="send a smaller amount with a new idempotencyKey; the limit is set by the jurisdiction "
            f"(spec.compliance.{LIMIT_KEY} of the JILJurisdiction)",
            more={"limit": policy.transfer_limit},
        )
    if debit.balance < request.amount:
        return Problem(
            422,
            "insufficient-funds",
            "The account holds less than the amount",
            detail=f"account {debit.id} holds {debit.balance}, the amount is {request.amount}",
            remedy="send a smaller amount, or fund the account, with a new idempotencyKey",
            more={"balance": debit.balance},
        )
    if credit.balance > LARGEST_AMOUNT - request.amount:
        return Problem(
            422,
            "balance-too-large",
            "The receiving account cannot hold that much",
            detail=f"account {credit.id} would exceed {LARGEST_AMOUNT}",
            remedy="send it to another account with a new idempotencyKey",
        )
    return Booking(
        debited=debit.model_copy(update={"balance": debit.balance - request.amount, "version": debit.version + 1}),
        credited=credit.model_copy(update={"balance": credit.balance + request.amount, "version": credit.version + 1}),
    )
