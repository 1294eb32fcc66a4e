"""The shapes of the rate service's API: camelCase JSON; a rate is a decimal in text, never a floating-point number."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

TOPIC = "jil.rates"
LONGEST_VALIDITY_SECONDS = 86_400


def _two_currencies(pair: str) -> str:
    if pair[:3] == pair[4:]:
        raise ValueError("must name two different currencies")
    return pair


def _positive(rate: str) -> str:
    if Decimal(rate) == 0:
        raise ValueError("must be greater than zero")
    return rate


Pair = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}-[A-Z]{3}$"), AfterValidator(_two_currencies)]
DecimalText = Annotated[
    str, StringConstraints(pattern=r"^(0|[1-9][0-9]{0,11})(\.[0-9]{1,12})?$"), AfterValidator(_positive)
]


class _Shape(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)


class QuoteRequest(_Shape):
    """Body of POST /rates: one unit of the first currency costs ``rate`` units of the second."""

    pair: Pair
    rate: DecimalText
    valid_for_seconds: Annotated[int, Field(ge=1, le=LONGEST_VALIDITY_SECONDS)] = 300

    def quoted(self, *, at: datetime, source_id: str) -> Rate:
        """The rate that this request makes."""
        return Rate(
            pair=self.pair,
            rate=self.rate,
            quoted_at=at,
            valid_until=at + timedelta(seconds=self.valid_for_seconds),
            source_id=source_id,
        )


class Rate(_Shape):
    """A quoted rate, as it is published, cached and answered. ``source_id``: the node that it was quoted on."""

    # A reader of the topic may be older than its writer.
    model_config = ConfigDict(extra="ignore")

    pair: Pair
    rate: DecimalText
    quoted_at: datetime
    valid_until: datetime
    source_id: str

    def valid_for(self, now: datetime) -> timedelta:
        """How long it still is valid; zero or negative when it has expired."""
        return self.valid_until.astimezone(UTC) - now
