"""Specs that a user might write: from the CRDs' own schemas, valid ones and invalid ones, one field at a time.

Each is refused with a message that a person can act on, or the node comes to rest under it and says where it stands;
and going back to the first spec brings back the first state. The values come from the schema and a seed, so that the
same number gives the same specs; nothing here knows what a field means.
"""

from __future__ import annotations

import copy
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from testbed.apiclient import ApiClient, ApiError
from tests.faults.rig import FaultFound, Rig
from tests.faults.scene import MERGE, Place, Scene
from tests.sim.world import JIL

CRDS = Path(__file__).resolve().parents[2] / "crds"
#: How often a server that is busy is asked.
ATTEMPTS = 10
Path_ = tuple[str | int, ...]
_GONE = object()
#: Looks like a letter and is another one.
_LOOKALIKE = str.maketrans({"C": "С", "H": "Н", "a": "а", "e": "е", "o": "о", "c": "с", "p": "р"})
_STRANGE = ("", " ", "-", "0", "../x", "a\nb", "x" * 300, "\u202etxet", "💾", "null", "1e9", "-1Gi", "0.5", "NaN")
_QUANTITIES = ("1Gi", "20Gi", "1Ti", "500Mi", "100m", "2", "1k", "10GiB")


@dataclass(frozen=True)
class Mutation:
    """One spec with one field changed. ``path`` within spec; ``value`` _GONE takes the field away."""

    path: Path_
    value: Any

    def __str__(self) -> str:
        where = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in self.path)
        shown = "absent" if self.value is _GONE else repr(self.value)
        return f"spec{where} = {shown[:80]}"

    def of(self, spec: dict[str, Any]) -> dict[str, Any]:
        """The spec with the change; what is missing on the way is made."""
        changed: Any = copy.deepcopy(spec)
        at = changed
        for step, following in zip(self.path, self.path[1:], strict=False):
            at = at[step] if isinstance(step, int) else at.setdefault(step, [] if isinstance(following, int) else {})
        last = self.path[-1]
        if self.value is _GONE:
            at.pop(last, None)
        elif isinstance(last, int):
            at[last:] = [self.value]
        else:
            at[last] = self.value
        result: dict[str, Any] = changed
        return result


def schema_of(plural: str) -> dict[str, Any]:
    """The schema of spec, as the CRD file in ``crds/`` has it."""
    document = yaml.safe_load((CRDS / f"jil.io_{plural}.yaml").read_text())
    found: dict[str, Any] = document["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return found


def mutations(schema: dict[str, Any], spec: dict[str, Any]) -> Iterator[Mutation]:
    """Every field of the schema with every value that is worth trying on it."""
    yield from _object(schema, spec, ())


def _object(schema: dict[str, Any], live: Any, path: Path_) -> Iterator[Mutation]:
    if path:
        yield Mutation(path, _GONE)
        yield Mutation(path, "not an object")
        yield Mutation(path, {})
    yield Mutation((*path, "noSuchField"), "x")
    for name, child in (schema.get("properties") or {}).items():
        below = live.get(name) if isinstance(live, dict) else None
        yield from _any(child, below, (*path, name))


def _any(schema: dict[str, Any], live: Any, path: Path_) -> Iterator[Mutation]:
    kind = schema.get("type")
    if kind == "object" and "properties" in schema:
        yield from _object(schema, live, path)
    elif kind == "object":
        yield Mutation(path, {})
        yield Mutation(path, {"one": "value"})
        yield Mutation(path, {"Ünicode key!": "value"})
        yield Mutation(path, {f"key-{n}": "value" for n in range(int(schema.get("maxProperties", 16)) + 1)})
        yield Mutation(path, {"one": "x" * 1025})
        yield Mutation(path, {"one": 1})
    elif kind == "array":
        yield from _array(schema, live, path)
    else:
        yield Mutation(path, _GONE)
        for value in _scalars(schema, live):
            yield Mutation(path, value)


def _array(schema: dict[str, Any], live: Any, path: Path_) -> Iterator[Mutation]:
    yield Mutation(path, [])
    yield Mutation(path, "not a list")
    first = live[0] if isinstance(live, list) and live else None
    if first is not None:
        yield Mutation(path, [first, first])
        yield Mutation(path, [first] * (int(schema.get("maxItems", 16)) + 1))
        if isinstance(first, dict):
            for mutation in _object(schema["items"], first, (*path, 0)):
                if len(mutation.path) > len(path) + 1:
                    yield mutation
    else:
        for value in _scalars(schema["items"], None):
            yield Mutation(path, [value])
        yield Mutation(path, [{}])


def _scalars(schema: dict[str, Any], live: Any) -> Iterator[Any]:
    kind = schema.get("type")
    if "enum" in schema:
        yield from schema["enum"]
        yield from (str(schema["enum"][0]).swapcase(), "Nonsense", 1, None)
    elif kind == "boolean":
        yield from (True, False, "true", 1)
    elif kind == "integer":
        low, high = int(schema.get("minimum", -5)), int(schema.get("maximum", 10**6))
        yield from (low, high, low - 1, high + 1, low + 1, 2**40, 1.5, str(low), True)
    else:
        yield from _STRANGE
        yield from _QUANTITIES
        yield "y" * int(schema.get("maxLength", 64))
        yield "y" * (int(schema.get("maxLength", 64)) + 1)
        yield 7
        if isinstance(live, str):
            yield from (live.lower(), live.upper(), live[:-1], live + "x", live.translate(_LOOKALIKE), f" {live}")


def drawn(plural: str, spec: dict[str, Any], count: int, seed: int) -> list[Mutation]:
    """``count`` mutations (or all there are), by seed."""
    everything = list(mutations(schema_of(plural), spec))
    random.Random(f"{plural}/{seed}").shuffle(everything)
    return everything[:count]


# -- refused, or not ----------------------------------------------------------------------------------------------------
def ask(api: ApiClient, collection: str, body: dict[str, Any]) -> ApiError | None:
    """What the API server says to a new object, without making it: None when it would take it. A server that is busy, or
    has just read a CRD anew, says nothing of the object: it is asked again."""
    for attempt in range(ATTEMPTS):
        try:
            api.request("POST", f"{collection}?dryRun=All&fieldValidation=Strict", body)
        except ApiError as refusal:
            if attempt + 1 < ATTEMPTS and (refusal.code == 429 or refusal.code >= 500):
                time.sleep(1)
                continue
            return refusal
        return None
    raise AssertionError("there is a last attempt")


def unreadable(mutation: Mutation, refusal: ApiError) -> str:
    """What is wrong with a refusal, "" when a person can act on it."""
    message = str(refusal.body.get("message", ""))
    if refusal.code not in (400, 422):
        return f"{mutation}: answered {refusal.code}: {message[:200]}"
    names = [str(step) for step in mutation.path if isinstance(step, str)]
    if len(message) < 25 or not any(name in message for name in names):
        return f"{mutation}: the refusal does not say which field: {message[:200]!r}"
    if "Traceback" in message or "internal error" in message.lower():
        return f"{mutation}: {message[:200]!r}"
    return ""


# -- there and back -----------------------------------------------------------------------------------------------------
def there_and_back(rig: Rig, mutation: Mutation) -> str:
    """A node at rest gets the spec and, when it stands under it, its first one again.

    Returns ``refused``, ``one way`` (the way back is refused, readably) or ``and back``. Raises FaultFound.
    """
    scene = rig.scene_at(Place.READY)
    node = scene.node()
    assert node is not None
    first = node["spec"]
    refusal = _put(rig, scene, mutation.of(first))
    if refusal is not None:
        if fault := unreadable(mutation, refusal):
            raise FaultFound(fault)
        return "refused"
    try:
        rig.until(lambda: _stands(scene), f"the node to say where it stands under {mutation}")
        rig.calm(f"under {mutation}")
        refusal = _put(rig, scene, first)
        if refusal is not None:
            if fault := unreadable(mutation, refusal):
                raise FaultFound(f"on the way back: {fault}")
            rig.fresh()
            return "one way"
        rig.until(
            lambda: scene.at(Place.READY) and not rig.differences(Place.READY),
            f"the first state to come back after {mutation}",
        )
        rig.calm(f"back from {mutation}")
    except FaultFound as found:
        left = rig.differences(Place.READY)[:10]
        rig.a.kill()
        rig.fresh()
        raise FaultFound("\n".join([f"{mutation} and back", *left, str(found)])) from None
    return "and back"


def _stands(scene: Scene) -> bool:
    """Whether the node has an answer to its newest spec: at rest, or why it is not, in words."""
    node = scene.node()
    if node is None or "status" not in node:
        return False
    status, generation = node["status"], node["metadata"]["generation"]
    ready = next((c for c in status.get("conditions", ()) if c["type"] == "Ready"), None)
    if ready is None or ready.get("observedGeneration") != generation or status.get("observedGeneration") != generation:
        return False
    return bool(ready["status"] == "True" or (ready.get("reason") and len(ready.get("message", "")) > 10))


def _put(rig: Rig, scene: Scene, spec: dict[str, Any]) -> ApiError | None:
    node = scene.node()
    assert node is not None
    # A merge patch says "away" by null; what the new spec does not have is named so.
    body = {"spec": _nulled(node["spec"], spec)}
    try:
        rig.world.api.request("PATCH", f"{scene.path}?fieldValidation=Strict", body, content_type=MERGE)
    except ApiError as refusal:
        return refusal
    return None


def _nulled(before: Any, after: Any) -> Any:
    if not isinstance(before, dict) or not isinstance(after, dict):
        return after
    gone: dict[str, Any] = {key: None for key in before if key not in after}
    return {**{key: _nulled(before.get(key), value) for key, value in after.items()}, **gone}


def samples(scene: Scene) -> dict[str, tuple[str, dict[str, Any]]]:
    """Plural -> (collection, a good object), as a user would make it."""
    network = {
        "chainId": "sample-1",
        "track": "devnet",
        "genesis": {"time": "2026-01-01T00:00:00Z"},
        "members": [{"nodeId": "CH-ZUG-01", "zone": "CH/FINMA", "founder": True, "namespace": "jil-sample"}],
        "disruption": {"allowHalt": True},
    }
    image = {"image": f"registry.example/jil/x@sha256:{'ab' * 32}"}
    release = {
        "version": "1.2.3",
        "broker": {"flavour": "kafka"},
        "images": dict.fromkeys(("database", "cache", "broker", "validator", "health"), image),
        "services": [{"name": "rates", "image": image, "needs": ["database"]}],
    }
    jurisdiction = {"zone": "CH/FINMA", "network": "sample", "release": "r1", "compliance": {"transferLimit": "100"}}
    node = {"nodeId": "CH-ZUG-01", "region": "ch-zug", "country": "CH", "datacenter": "zug-1"}
    namespaced = f"{JIL}/namespaces/{scene.namespace}"

    def whole(kind: str, spec: dict[str, Any]) -> dict[str, Any]:
        return {"apiVersion": "jil.io/v1alpha1", "kind": kind, "metadata": {"name": "sample"}, "spec": spec}

    return {
        "jilnetworks": (f"{JIL}/jilnetworks", whole("JILNetwork", network)),
        "jilreleases": (f"{JIL}/jilreleases", whole("JILRelease", release)),
        "jiljurisdictions": (f"{namespaced}/jiljurisdictions", whole("JILJurisdiction", jurisdiction)),
        "jilnodes": (f"{namespaced}/jilnodes", whole("JILNode", node)),
    }
