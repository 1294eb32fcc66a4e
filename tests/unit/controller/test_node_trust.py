"""Which release a node is made of while the one that is wanted is not admitted."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from jil.api import kinds, labels
from jil.api.node import JILNode
from jil.api.release import JILRelease
from jil.controller.deps import Deps
from jil.controller.node_trust import NodeTrust, Withheld
from jil.plan.spec_check import Resolved
from tests.unit.controller.trust_world import SPACE, World, network


class Rig(World):
    """A namespace in whose list r1, which node n1 ran, and r2 are; then the key of both is revoked."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = self.image("a"), self.image("b", release="r2")
        self.r1, self.r2 = self.release("r1", self.a), self.release("r2", self.b)
        self.runs("r1", self.a)
        self.want("r2")
        self.ask(self.r1)
        self.ask(self.r2)
        self.publish()
        self.put(kinds.JIL_NETWORK, network(revokedAt="2026-01-01T00:00:00Z"))
        for release in (self.r1, self.r2):
            self.ask(release)
            assert self.trust.admitted_before(SPACE, release, validator=True)
            assert not self.trust.standing(self.network, release).admits
        images = dict(self.r1.spec.all_images)
        self.history = [SimpleNamespace(release="r1", images=images)]

    def carries(self, component: str, image: str) -> None:
        """A workload of the node."""
        metadata = {
            "name": f"n1-{component}",
            "namespace": SPACE,
            "labels": {labels.NODE: "n1", labels.APP_NAME: component},
        }
        template = {"spec": {"containers": [{"name": "main", "image": image}]}}
        self.put(kinds.DEPLOYMENT, {"metadata": metadata, "spec": {"template": template}})

    async def admit(self, wanted: JILRelease) -> str | bool:
        """Name of the release that n1 is made of, or whether it runs something that is left as it is."""

        async def read(node_id: str) -> Any:
            return SimpleNamespace(spec=SimpleNamespace(owner=SimpleNamespace(uid="n1"), releases=self.history))

        deps = SimpleNamespace(store=self.store, records=SimpleNamespace(read=read))
        spec = SimpleNamespace(node_id="CH-ZUG-01", validator=SimpleNamespace(enabled=True))
        node = SimpleNamespace(name="n1", metadata=SimpleNamespace(namespace=SPACE, uid="n1"), spec=spec)
        resolved = Resolved(cast(Any, None), self.network, wanted, cast(Any, None))
        found = await NodeTrust(cast(Deps, deps), self.trust).admit(cast(JILNode, node), resolved)
        return found.runs_something if isinstance(found, Withheld) else found[0].release.name


@pytest.fixture
def rig() -> Rig:
    return Rig()


def refused(rig: Rig) -> JILRelease:
    """A third release, which nobody signed."""
    return rig.release("r3", rig.image("c", good=False), signed=False)


async def test_i6_a_node_goes_on_with_what_it_runs_also_from_a_mirror_and_with_a_child_missing(rig: Rig) -> None:
    rig.carries("database", f"mirror.example.com/x@{rig.a.partition('@')[2]}")
    rig.carries("cache", rig.a)
    assert await rig.admit(refused(rig)) == "r1"


@pytest.mark.parametrize(("component", "which"), [("cache", "b"), ("only-in-r2", "b"), ("only-in-r2", "a")])
async def test_i6_a_node_between_two_releases_is_left_as_it_is_and_loses_nothing(
    rig: Rig, component: str, which: str
) -> None:
    rig.carries("database", rig.a)
    rig.carries(component, getattr(rig, which))
    assert await rig.admit(refused(rig)) is True


async def test_i6_what_another_node_of_the_namespace_was_let_take_up_is_not_taken_up_by_this_one(rig: Rig) -> None:
    rig.carries("database", rig.a)
    assert await rig.admit(rig.r2) == "r1"
    rig.carries("cache", rig.b)
    assert await rig.admit(rig.r2) == "r2", "it is on its way there"


async def test_i6_a_node_that_ran_a_release_by_its_record_may_be_made_of_it(rig: Rig) -> None:
    rig.carries("database", rig.a)
    assert await rig.admit(rig.r1) == "r1"


async def test_i6_a_node_without_workloads_takes_nothing_up(rig: Rig) -> None:
    assert await rig.admit(rig.r1) is False
