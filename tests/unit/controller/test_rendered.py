"""What is kept of rendering is what rendering would make."""

from __future__ import annotations

import copy
from dataclasses import replace

from jil.controller.rendered import Rendered
from jil.render import node as render_node
from tests.unit.render.samples import zurich


def test_an_equal_context_finds_the_very_same_objects() -> None:
    rendered = Rendered()
    first = rendered.objects(zurich())
    assert rendered.objects(copy.deepcopy(zurich())) is first
    assert first == render_node.objects(zurich())


def test_another_context_of_the_same_node_is_rendered_anew() -> None:
    rendered, ctx = Rendered(), zurich()
    rendered.objects(ctx)
    later = replace(ctx, allowed_peer_ids=(*ctx.allowed_peer_ids, "f" * 40))
    assert rendered.objects(later) == render_node.objects(later)
    assert rendered.objects(ctx) == render_node.objects(ctx)


def test_no_more_than_a_usual_cluster_is_kept() -> None:
    rendered = Rendered()
    first = rendered.objects(zurich())
    for number in range(64):
        rendered.objects(replace(zurich(), name=f"other-{number}"))
    assert rendered.objects(zurich()) is not first


def test_replicas_that_are_as_declared_leave_an_object_as_it_is() -> None:
    objects = render_node.objects(zurich())
    declared = {o["metadata"]["name"]: o["spec"]["replicas"] for o in render_node.workloads(objects)}
    assert all(one is other for one, other in zip(objects, render_node.with_replicas(objects, declared), strict=True))
    stopped = render_node.with_replicas(objects, dict.fromkeys(declared, 0))
    assert {o["spec"]["replicas"] for o in render_node.workloads(stopped)} == {0}
    assert {o["metadata"]["name"]: o["spec"]["replicas"] for o in render_node.workloads(objects)} == declared
