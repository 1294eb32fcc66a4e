"""From a typed model to the structural OpenAPI schema of a CRD.

Strict on purpose: no field without a type, no string, list, map or integer without a bound (an unbounded one blows the
API server's budget for CEL rules when the CRD is created), nothing preserved that is not declared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from jil.api.rules import VALIDATIONS

Schema = dict[str, Any]

#: In the order in which a reader wants them.
_KEYS = (
    "description",
    "type",
    "format",
    "default",
    "enum",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "pattern",
    "minItems",
    "maxItems",
    "maxProperties",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    VALIDATIONS,
    "required",
    "properties",
    "additionalProperties",
    "items",
)
_RULE_KEYS = ("rule", "message", "messageExpression")
#: Said by JSON schema and not wanted, or not possible, in a structural one.
_DROPPED = frozenset({"title", "propertyNames", "$defs"})
_INT32_MAX = 2**31 - 1


def structural(model: type[BaseModel]) -> Schema:
    """Structural schema of ``model``. Raises ValueError for what the API server would refuse or leave unbounded."""
    source = model.model_json_schema(by_alias=True, mode="validation")
    schema = _convert(source, source.get("$defs", {}), model.__name__)
    if faults := list(unbounded(schema)):
        raise ValueError(f"{model.__name__}: unbounded in its schema: {', '.join(faults)}")
    return schema


def _convert(schema: Schema, definitions: Mapping[str, Schema], path: str) -> Schema:
    flat = _flatten(schema, definitions, path)
    if "type" not in flat:
        raise ValueError(f"{path}: no single type; a structural schema needs one (got {sorted(flat)})")
    if "properties" in flat:
        flat["properties"] = {
            name: _convert(sub, definitions, f"{path}.{name}") for name, sub in flat["properties"].items()
        }
    if "patternProperties" in flat:
        # A structural schema cannot constrain keys; Python still does.
        (flat["additionalProperties"],) = flat.pop("patternProperties").values()
    extra = flat.pop("additionalProperties", False)
    if isinstance(extra, dict):
        flat["additionalProperties"] = _convert(extra, definitions, f"{path}[*]")
    elif extra is True:
        raise ValueError(f"{path}: a map needs the type of its values")
    if "items" in flat:
        flat["items"] = _convert(flat["items"], definitions, f"{path}[]")
    if flat["type"] == "integer":
        flat["format"] = "int32" if flat.get("maximum", _INT32_MAX + 1) <= _INT32_MAX else "int64"
    if VALIDATIONS in flat:
        # pydantic sorts the keys of a JSON schema; a reader wants the rule first.
        flat[VALIDATIONS] = [{key: rule[key] for key in _RULE_KEYS if key in rule} for rule in flat[VALIDATIONS]]
    _set_default(flat)
    _describe(flat)
    if unknown := set(flat) - set(_KEYS):
        raise ValueError(f"{path}: do not know how to write {sorted(unknown)} into a structural schema")
    return {key: flat[key] for key in _KEYS if key in flat}


def _flatten(schema: Schema, definitions: Mapping[str, Schema], path: str) -> Schema:
    """Resolve ``$ref``, optional (``anyOf`` with null) and ``allOf`` into one level; what stands outside wins."""
    outer = {key: value for key, value in schema.items() if key not in _DROPPED}
    inner: Schema = {}
    if "$ref" in outer:
        inner = _flatten(definitions[outer.pop("$ref").removeprefix("#/$defs/")], definitions, path)
    elif "anyOf" in outer:
        choices = [choice for choice in outer.pop("anyOf") if choice != {"type": "null"}]
        if len(choices) != 1:
            raise ValueError(f"{path}: a structural schema cannot say one of several types")
        inner = _flatten(choices[0], definitions, path)
    elif "allOf" in outer:
        (only,) = outer.pop("allOf")
        inner = _flatten(only, definitions, path)
    merged = {**inner, **outer}
    rules = [*inner.get(VALIDATIONS, []), *outer.get(VALIDATIONS, [])]
    if rules:
        merged[VALIDATIONS] = rules
    return merged


def _set_default(schema: Schema) -> None:
    """A nested object defaults to ``{}`` so that the defaults inside it apply; empty and null say nothing."""
    if "default" not in schema:
        return
    if "properties" in schema:
        if not schema.get("required"):
            schema["default"] = {}
            return
        schema.pop("default")
    elif schema["default"] in (None, [], {}, ""):
        schema.pop("default")


def _describe(schema: Schema) -> None:
    text = " ".join(str(schema.pop("description", "")).split())
    if "properties" not in schema and "default" in schema:
        shown = schema["default"]
        text = f"{text} Default: {str(shown).lower() if isinstance(shown, bool) else shown}.".strip()
    if text:
        schema["description"] = text


def unbounded(schema: Schema, path: str = "") -> Iterator[str]:
    """Paths (and what they lack) of everything in ``schema`` that could grow without limit."""
    here = path or "."
    kind = schema["type"]
    if kind == "string" and "enum" not in schema and "format" not in schema and "maxLength" not in schema:
        yield f"{here} (maxLength)"
    if kind in {"integer", "number"} and not {"minimum", "maximum"} <= schema.keys():
        yield f"{here} (minimum, maximum)"
    if kind == "array":
        if "maxItems" not in schema:
            yield f"{here} (maxItems)"
        if "x-kubernetes-list-type" not in schema:
            yield f"{here} (x-kubernetes-list-type)"
        yield from unbounded(schema["items"], f"{path}[]")
    if "additionalProperties" in schema:
        if "maxProperties" not in schema:
            yield f"{here} (maxProperties)"
        yield from unbounded(schema["additionalProperties"], f"{path}[*]")
    for name, sub in schema.get("properties", {}).items():
        yield from unbounded(sub, f"{path}.{name}")


def walk(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    """Every schema node with its path (``spec.members[].power``), parents before children."""
    yield path, schema
    for name, sub in schema.get("properties", {}).items():
        yield from walk(sub, f"{path}.{name}" if path else name)
    if "items" in schema:
        yield from walk(schema["items"], f"{path}[]")
    if "additionalProperties" in schema:
        yield from walk(schema["additionalProperties"], f"{path}[*]")
