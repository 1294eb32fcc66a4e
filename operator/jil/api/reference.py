"""Generate ``docs/reference.md``: ``python -m jil.api.reference --write`` or ``--check``, from the top of the checkout.

Everything in it comes from the models: what it says cannot drift from what the API server enforces.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from jil.api import generated, labels
from jil.api.conditions import (
    JURISDICTION_CONDITIONS,
    NETWORK_CONDITIONS,
    NODE_CONDITIONS,
    OPERATION_CONDITIONS,
    RELEASE_CONDITIONS,
    ConditionType,
    Reason,
)
from jil.api.definitions import DEFINITIONS, Definition
from jil.api.rules import VALIDATIONS
from jil.api.structural import Schema, walk
from jil.api.versions import SUPPORTED_MINORS, TESTED_MINOR

PATH = Path("docs/reference.md")

_CONDITIONS: dict[str, tuple[ConditionType, ...]] = {
    "JILNetwork": NETWORK_CONDITIONS,
    "JILRelease": RELEASE_CONDITIONS,
    "JILJurisdiction": JURISDICTION_CONDITIONS,
    "JILNode": NODE_CONDITIONS,
    "JILOperation": OPERATION_CONDITIONS,
}


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(_cell(cell) for cell in row)} |"
    yield ""


def _type(schema: Schema) -> str:
    kind = schema["type"]
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("format") == "date-time":
        return "time (RFC 3339)"
    if kind == "array":
        keys = schema.get("x-kubernetes-list-map-keys")
        entry = schema["items"]
        entries = _type(entry) if "enum" in entry else f"{_type(entry)}s"
        return f"list of {entries}" + (f", by `{'`, `'.join(keys)}`" if keys else "")
    if "additionalProperties" in schema:
        return f"map to {_type(schema['additionalProperties'])}s"
    return str(kind)


def _limits(schema: Schema) -> str:
    parts: list[str] = []
    if "minimum" in schema and "maximum" in schema:
        top = schema["maximum"]
        # Everything with this maximum is a height or a counter: saying 9007199254740991 would help nobody.
        parts.append(f"{schema['minimum']} or more" if top == 2**53 - 1 else f"{schema['minimum']} to {top}")
    for low, high, unit in (
        ("minLength", "maxLength", "characters"),
        ("minItems", "maxItems", "entries"),
        ("", "maxProperties", "entries"),
    ):
        if high in schema:
            start = schema.get(low)
            parts.append(f"{start} to {schema[high]} {unit}" if start else f"at most {schema[high]} {unit}")
    if "pattern" in schema:
        parts.append(f"`{schema['pattern']}`")
    return "; ".join(parts)


def _default(schema: Schema) -> str:
    if "properties" in schema or "default" not in schema:
        return ""
    value = schema["default"]
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _meaning(schema: Schema) -> str:
    text = str(schema.get("description", ""))
    return re.sub(r" ?Default: [^ ]*\.$", "", text) if _default(schema) else text


def _fields(schema: Schema, part: str) -> Iterator[str]:
    required: set[str] = {part}
    rows: list[tuple[str, ...]] = []
    for path, node in walk(schema["properties"][part], part):
        required |= {f"{path}.{name}" for name in node.get("required", [])}
        # The entries of a list are described by the list, those of a map by the map, conditions once for all kinds.
        if path == part or path.endswith(("[]", "[*]")) or path.startswith("status.conditions["):
            continue
        need = "required" if path in required and part == "spec" else _default(node)
        rows.append((f"`{path}`", _type(node), need, _meaning(node), _limits(node)))
    yield from _table(("field", "type", "default", "meaning", "limits"), rows)


def _kind(entry: Definition) -> Iterator[str]:
    schema = entry.schema()
    scope = "namespaced" if entry.kind.namespaced else "cluster-scoped"
    yield f"## {entry.kind.kind}\n"
    yield f"{schema['description']}\n"
    columns = ", ".join(column.name.upper() + (" (wide)" if column.wide else "") for column in entry.columns)
    short = entry.short_name
    yield f"`{entry.crd_name}`, short name `{short}`, {scope}. `kubectl get {short}` shows {columns}.\n"
    for part in ("spec", "status"):
        if part in schema["properties"]:
            yield f"### {entry.kind.kind} {part}\n"
            if part == "status" and (types := _CONDITIONS.get(entry.kind.kind)):
                yield f"Conditions: {', '.join(f'`{type_}`' for type_ in types)}.\n"
            yield from _fields(schema, part)
    places: dict[tuple[str, str], list[str]] = {}
    for path, node in walk(schema):
        for rule in node.get(VALIDATIONS, []):
            checked = "a change" if "oldSelf" in rule["rule"] else "always"
            places.setdefault((checked, rule["message"]), []).append(f"`{path}`" if path else "the object")
    rows = [(", ".join(where), checked, message) for (checked, message), where in places.items()]
    yield f"### {entry.kind.kind} rules\n"
    yield "What the API server refuses, and how it says so (some messages also name the values at hand).\n"
    yield from _table(("where", "checked", "refused with"), rows)


def render() -> str:
    """The whole document."""
    oldest, newest = (".".join(map(str, minor)) for minor in (SUPPORTED_MINORS[0], SUPPORTED_MINORS[-1]))
    tested = ".".join(map(str, TESTED_MINOR))
    lines = [
        "<!-- Generated from operator/jil/api by `python -m jil.api.reference --write`: change the models. -->\n",
        "# API reference\n",
        f"Group `{labels.GROUP}`, version `{labels.VERSION}`. `kubectl get {labels.CATEGORY} -A` lists every object of "
        "these kinds, `kubectl explain jilnode.spec` shows what stands here. Sizes and shares are Kubernetes "
        "quantities as text (`10Gi`, `250m`).\n",
        f"Supported Kubernetes versions: {oldest} to {newest}. Tests run on {tested}; the older ones are that API "
        "server emulating them.\n",
    ]
    for entry in DEFINITIONS:
        lines.extend(_kind(entry))
    lines.append("## Conditions\n")
    lines.append(
        "`status.conditions` has the shape of every Kubernetes condition: `type`, `status` (`True`, `False`, or "
        "`Unknown` when it could not be found out), `observedGeneration`, `lastTransitionTime` (moves with the status "
        "only), `reason` and `message`. From the first status on, each kind has all of its types.\n"
    )
    lines.extend(_table(("type", "True means"), [(f"`{type_}`", type_.meaning) for type_ in ConditionType]))
    lines.append("## Reasons\n")
    lines.append("Reasons of conditions, waits and Events. The list is closed: alerts and scripts may match on it.\n")
    lines.extend(_table(("reason", "meaning"), [(f"`{reason}`", reason.meaning) for reason in Reason]))
    return "\n".join(lines).rstrip() + "\n"


def main(argv: list[str]) -> int:
    """Entry point; returns the exit code."""
    return generated.run(
        argv,
        module="jil.api.reference",
        expected={PATH: render()},
        present=[PATH] if PATH.exists() else [],
        description="API reference, generated from the typed models.",
    )


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
