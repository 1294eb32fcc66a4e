"""The shapes of the transfer service's API: camelCase JSON; amounts are integers in the currency's minor unit."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic.alias_generators import to_camel

#: 2^53 - 1: the largest integer that every JSON reader keeps exact.
LARGEST_AMOUNT = 9_007_199_254_740_991

AccountId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}$")]
Currency = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]
IdempotencyKey = Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]{1,128}$")]
Amount = Annotated[int, Field(ge=1, le=LARGEST_AMOUNT)]
Balance = Annotated[int, Field(ge=0, le=LARGEST_AMOUNT)]


class _Shape(BaseModel):
    # strict: "100", 100.0 and true are no amounts.
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)


class OpenAccount(_Shape):
    """Body of POST /accounts."""

    id: AccountId
    currency: Currency
    opening_balance: Balance = 0


class Account(_Shape):
    """An account; ``version`` counts its changes from 1."""

    id: AccountId
    currency: Currency
    balance: Balance
    version: int


class TransferRequest(_Shape):
    """Body of POST /transfers. ``currency`` may be left out: it is the accounts' own, and must be it when given."""

    from_account: AccountId = Field(alias="from")
    to_account: AccountId = Field(alias="to")
    amount: Amount
    currency: Currency | None = None
    idempotency_key: IdempotencyKey

    @model_validator(mode="after")
    def _between_two_accounts(self) -> Self:
        if self.from_account == self.to_account:
            raise ValueError("`from` and `to` must be two different accounts")
        return self

    def digest(self) -> bytes:
        """SHA-256 of what is asked for, without the key: the same for every spelling of the same request."""
        content = self.model_dump(mode="json", exclude={"idempotency_key"})
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).digest()


class Transfer(_Shape):
    """A booked transfer, the answer to POST /transfers."""

    id: UUID
    from_account: AccountId = Field(alias="from")
    to_account: AccountId = Field(alias="to")
    amount: Amount
    currency: Currency
    booked_at: datetime
