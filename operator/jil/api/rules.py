"""CEL validation rules, declared beside the field or model they guard and written into the CRDs from there.

A rule's message is shown to the person whose ``kubectl apply`` was refused: it says what is wrong and what to do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

VALIDATIONS = "x-kubernetes-validations"


@dataclass(frozen=True)
class Rule:
    """One entry of ``x-kubernetes-validations``; use it as ``Annotated[..., Rule(...)]`` or in a model's ``rules``.

    ``expression`` is CEL (``oldSelf`` makes it a transition rule). ``message`` is a fixed text; ``message_expression``
    is CEL that builds one from the values at hand, with ``message`` as the server's fallback. ``replaces_pattern``
    drops the field's regex from the CRD: the rule says the same with a better message, and the regex would shadow it.
    """

    expression: str
    message: str
    message_expression: str | None = None
    replaces_pattern: bool = False

    def to_schema(self) -> dict[str, Any]:
        """The rule as the API server wants it."""
        entry = {"rule": self.expression, "message": self.message}
        if self.message_expression is not None:
            entry["messageExpression"] = self.message_expression
        return entry

    def __get_pydantic_json_schema__(self, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = dict(handler(core_schema))
        if self.replaces_pattern:
            schema.pop("pattern", None)
        schema[VALIDATIONS] = [*schema.get(VALIDATIONS, []), self.to_schema()]
        return schema


def immutable(what: str, remedy: str) -> Rule:
    """Transition rule for a field that is always present (required or defaulted).

    Not for optional fields: the API server skips a transition rule when one side is absent, so unset-then-set would
    pass. Those need a rule on their parent, see ``immutable_optional``.
    """
    return Rule("self == oldSelf", f"{what} cannot be changed after creation. {remedy}")


def immutable_optional(name: str, what: str, remedy: str) -> Rule:
    """Rule for the parent of optional field ``name``: neither changed, nor set later, nor unset."""
    return Rule(
        f"has(self.{name}) == has(oldSelf.{name}) && (!has(self.{name}) || self.{name} == oldSelf.{name})",
        f"{what} cannot be set, changed or removed after creation. {remedy}",
    )


def frozen_once_set(name: str, what: str) -> Rule:
    """Rule for the parent of optional field ``name``: it may appear once and then stays as it is."""
    return Rule(
        f"!has(oldSelf.{name}) || (has(self.{name}) && self.{name} == oldSelf.{name})",
        f"{what} is set once and can neither be changed nor removed.",
    )
