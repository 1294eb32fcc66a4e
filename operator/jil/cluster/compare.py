"""Does the live object have everything that the intent says? Pure; answers with a list of differences for people.

A subset comparison: what the intent leaves out is the server's or a default. Lists are compared item by item by their
merge keys where Kubernetes merges them so, and as a whole elsewhere. Quantities are compared by value ("1000m" is "1").
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from jil.cluster.fieldset import Field, Item, Path, Value, show

#: Fields of a pod spec and its containers that are list-maps, with their keys (Kubernetes API reference, patchMergeKey
#: and listMapKey). They are recognised below a pod spec only: NetworkPolicies have atomic ``ports`` of other shape.
_POD_LISTS: Mapping[str, tuple[str, ...]] = {
    "containers": ("name",),
    "initContainers": ("name",),
    "ephemeralContainers": ("name",),
    "volumes": ("name",),
    "imagePullSecrets": ("name",),
    "hostAliases": ("ip",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
    "env": ("name",),
    "ports": ("containerPort", "protocol"),
    "volumeMounts": ("mountPath",),
    "volumeDevices": ("devicePath",),
}
_SERVICE_LISTS: Mapping[str, tuple[str, ...]] = {"ports": ("port", "protocol")}
_KEY_DEFAULTS = {"protocol": "TCP"}
#: Parents whose values are quantities, and fields that are one.
_QUANTITY_MAPS = {"requests", "limits", "capacity", "hard"}
_QUANTITY_FIELDS = {"sizeLimit", "storage", "divisor"}
#: Fields of type IntOrString.
_INT_OR_STRING = {"targetPort", "port", "maxUnavailable", "minAvailable", "maxSurge"}
_SUFFIXES = {
    "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"), "": Decimal(1), "k": Decimal(10) ** 3,
    "M": Decimal(10) ** 6, "G": Decimal(10) ** 9, "T": Decimal(10) ** 12, "P": Decimal(10) ** 15,
    "E": Decimal(10) ** 18, "Ki": Decimal(2) ** 10, "Mi": Decimal(2) ** 20, "Gi": Decimal(2) ** 30,
    "Ti": Decimal(2) ** 40, "Pi": Decimal(2) ** 50, "Ei": Decimal(2) ** 60,
}  # fmt: skip
_ABSENT = object()


@dataclass(frozen=True)
class Difference:
    """``have`` is None when the live object lacks the field."""

    path: Path
    want: Any
    have: Any

    def __str__(self) -> str:
        return f"{show(self.path)}: have {_short(self.have)}, want {_short(self.want)}"


def differences(intent: Mapping[str, Any], live: Mapping[str, Any]) -> list[Difference]:
    """Everything that ``intent`` says and ``live`` does not have; apiVersion, kind and status are not compared."""
    lists = _SERVICE_LISTS if intent.get("kind") == "Service" else {}
    found: list[Difference] = []
    for name, want in intent.items():
        if name in ("apiVersion", "kind", "status"):
            continue
        found += _compare(want, live.get(name, _ABSENT), (Field(name),), lists)
    return found


def _compare(want: Any, have: Any, at: Path, lists: Mapping[str, tuple[str, ...]]) -> Iterator[Difference]:
    if want is None:
        return
    if have is _ABSENT or have is None:
        # The server drops empty lists and maps; a missing one says the same as an empty one.
        if not (isinstance(want, (Mapping, list)) and not want):
            yield Difference(at, want, None)
    elif isinstance(want, Mapping) and isinstance(have, Mapping):
        inside = _POD_LISTS if _is_pod_spec(at) else lists
        for name, value in want.items():
            yield from _compare(value, have.get(name, _ABSENT), (*at, Field(name)), inside)
    elif isinstance(want, list) and isinstance(have, list):
        name = at[-1].name if at and isinstance(at[-1], Field) else ""
        keys = lists.get(name)
        yield from _compare_list_map(want, have, at, keys, lists) if keys else _compare_atomic(want, have, at, lists)
    elif not _same_scalar(want, have, at):
        yield Difference(at, want, have)


def _is_pod_spec(at: Path) -> bool:
    return len(at) >= 2 and at[-1] == Field("spec") and at[-2] == Field("template")


def _compare_list_map(
    want: list[Any], have: list[Any], at: Path, keys: tuple[str, ...], lists: Mapping[str, tuple[str, ...]]
) -> Iterator[Difference]:
    positions = {_key(item, keys): index for index, item in reversed(list(enumerate(have)))}
    order: list[int] = []
    for item in want:
        key = _key(item, keys)
        index = positions.get(key)
        inner = (*at, Item(tuple(zip(keys, key, strict=True))))
        if index is None:
            yield Difference(inner, item, None)
            continue
        order.append(index)
        yield from _compare(item, have[index], inner, lists)
    if order != sorted(order):
        # Init containers run, and environment variables expand, in order.
        names = [_key(item, keys)[0] for item in want]
        yield Difference(at, f"order {names}", f"order {[_key(item, keys)[0] for item in have]}")


def _compare_atomic(
    want: list[Any], have: list[Any], at: Path, lists: Mapping[str, tuple[str, ...]]
) -> Iterator[Difference]:
    if len(want) != len(have):
        yield Difference(at, want, have)
        return
    for index, (wanted, had) in enumerate(zip(want, have, strict=True)):
        yield from _compare(wanted, had, (*at, Value(index)), lists)


def _key(item: Any, keys: tuple[str, ...]) -> tuple[Any, ...]:
    if not isinstance(item, Mapping):
        return (item,) * len(keys)
    return tuple(item.get(name, _KEY_DEFAULTS.get(name)) for name in keys)


def _same_scalar(want: Any, have: Any, at: Path) -> bool:
    if type(want) is type(have) and want == have:
        return True
    if isinstance(want, (Mapping, list)) or isinstance(have, (Mapping, list)):
        return False
    names = [step.name for step in at if isinstance(step, Field)]
    last, parent = (names[-1] if names else ""), (names[-2] if len(names) > 1 else "")
    if parent in _QUANTITY_MAPS or last in _QUANTITY_FIELDS:
        wanted, had = quantity(want), quantity(have)
        return wanted is not None and wanted == had
    if last in _INT_OR_STRING:
        return str(want) == str(have)
    if isinstance(want, bool) or isinstance(have, bool):
        return False
    return isinstance(want, (int, float)) and isinstance(have, (int, float)) and want == have


def quantity(value: Any) -> Decimal | None:
    """Value of a Kubernetes quantity ("500m", "1Gi", "1e3", 2); None when it is none."""
    text = str(value).strip()
    end = len(text)
    while end and text[end - 1].isalpha():
        end -= 1
    number, suffix = text[:end], text[end:]
    try:
        if suffix in _SUFFIXES:
            return Decimal(number) * _SUFFIXES[suffix]
        return Decimal(text)
    except InvalidOperation:
        return None


def _short(value: Any) -> str:
    if value is None:
        return "nothing"
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 80 else text[:77] + "..."
