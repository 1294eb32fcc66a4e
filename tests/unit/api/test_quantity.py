"""Kubernetes quantities as numbers."""

from __future__ import annotations

from decimal import Decimal

import pytest
from pydantic import TypeAdapter, ValidationError

from jil.api.fields import Quantity
from jil.api.quantity import parse_quantity


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("10Gi", Decimal(10 * 2**30)),
        ("1.5Ti", Decimal(3 * 2**39)),
        ("250m", Decimal("0.25")),
        ("1", Decimal(1)),
        ("1e3", Decimal(1000)),
        ("12E", Decimal(12 * 10**18)),
        ("12E2", Decimal(1200)),
        (".5", Decimal("0.5")),
        ("2.", Decimal(2)),
        ("100k", Decimal(100_000)),
        ("1n", Decimal("1e-9")),
    ],
)
def test_value(text: str, value: Decimal) -> None:
    assert parse_quantity(text) == value


@pytest.mark.parametrize("text", ["", "10GB", "-1Gi", "+1", "1 Gi", "Gi", "1e", "1e999", "0x10", "1Gi\n", "١"])
def test_what_is_none_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="such as 10Gi"):
        parse_quantity(text)


@pytest.mark.parametrize("text", ["0", "0Gi", "0.0", "0e5"])
def test_nothing_is_no_size(text: str) -> None:
    with pytest.raises(ValidationError, match="greater than zero"):
        TypeAdapter(Quantity).validate_python(text)
