"""Paths in the Kubernetes API, and refusing those that mean something else."""

from __future__ import annotations

import pytest

from jil.api import kinds
from jil.api.kinds import Kind


@pytest.mark.parametrize(
    ("kind", "arguments", "path"),
    [
        (kinds.JIL_NODE, {}, "/apis/jil.io/v1alpha1/jilnodes"),
        (kinds.JIL_NODE, {"namespace": "a"}, "/apis/jil.io/v1alpha1/namespaces/a/jilnodes"),
        (
            kinds.JIL_NODE,
            {"namespace": "a", "name": "b", "subresource": "status"},
            "/apis/jil.io/v1alpha1/namespaces/a/jilnodes/b/status",
        ),
        (kinds.JIL_NETWORK, {"name": "n"}, "/apis/jil.io/v1alpha1/jilnetworks/n"),
        (kinds.SECRET, {"namespace": "a", "name": "b"}, "/api/v1/namespaces/a/secrets/b"),
        (kinds.NODE, {"name": "worker"}, "/api/v1/nodes/worker"),
        (kinds.EVENT, {"namespace": "a"}, "/apis/events.k8s.io/v1/namespaces/a/events"),
        (kinds.STATEFUL_SET, {}, "/apis/apps/v1/statefulsets"),
    ],
)
def test_path(kind: Kind, arguments: dict[str, str], path: str) -> None:
    assert kind.path(**arguments) == path


def test_name_cannot_leave_its_place_in_the_path() -> None:
    assert kinds.POD.path(namespace="a", name="../../x") == "/api/v1/namespaces/a/pods/..%2F..%2Fx"


@pytest.mark.parametrize(
    ("kind", "arguments", "says"),
    [
        (kinds.NODE, {"namespace": "a"}, "cluster-scoped"),
        (kinds.POD, {"name": "a"}, "say in which namespace"),
        (kinds.POD, {"namespace": "a", "subresource": "eviction"}, "needs the name"),
        (kinds.POD, {"namespace": "a", "name": ""}, "empty"),
        (kinds.POD, {"namespace": ""}, "empty"),
    ],
)
def test_path_that_would_mean_something_else_is_refused(kind: Kind, arguments: dict[str, str], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        kind.path(**arguments)


def test_head_of_a_manifest() -> None:
    assert kinds.STATEFUL_SET.head("a", "b") == {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "a", "namespace": "b"},
    }
    assert kinds.NAMESPACE.head("a") == {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}}
    with pytest.raises(ValueError, match="say in which namespace"):
        kinds.STATEFUL_SET.head("a")
    with pytest.raises(ValueError, match="cluster-scoped"):
        kinds.NAMESPACE.head("a", "b")


@pytest.mark.parametrize("kind", [*kinds.JIL_KINDS, *kinds.CORE_KINDS], ids=lambda kind: kind.kind)
def test_kind_is_found_by_its_manifest(kind: Kind) -> None:
    assert kinds.kind_of({"apiVersion": kind.api_version, "kind": kind.kind}) is kind


def test_unknown_kind_is_named() -> None:
    with pytest.raises(KeyError, match="v1 Pot is not a type"):
        kinds.kind_of({"apiVersion": "v1", "kind": "Pot"})
