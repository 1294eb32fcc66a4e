"""Identity Secrets: how often they are asked for, and that no order of steps makes a key twice (I5).

That the API server keeps what was POSTed as immutable is shown in tests/cluster/operator.
"""

from __future__ import annotations

from typing import Any, cast

import pytest

from jil.api import kinds, labels
from jil.api.conditions import Reason
from jil.api.kinds import Kind
from jil.api.record import Keys, Owner, RecordSpec
from jil.cluster.client import KubeClient
from jil.cluster.identity import IdentityProblem, IdentityRequest, Master, ensure_copies, ensure_masters
from jil.cluster.keys import KeyRole
from jil.controller.node_record import keys_of
from tests.unit.cluster.memory_api import MemoryApi

NODE_ID, SYSTEM, HOME = "CH-ZRH-01", "jil-system", "jil-ch"


class Api(MemoryApi):
    """Counts reads."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0

    async def get(self, kind: Kind, name: str, namespace: str | None = None) -> dict[str, Any]:
        self.reads += 1
        return await super().get(kind, name, namespace)


def request(keys: Keys | None = None) -> IdentityRequest:
    record = RecordSpec(
        node_id=NODE_ID,
        network="jil-devnet",
        owner=Owner(namespace=HOME, name="zurich", uid="1"),
        cluster_uid="here",
        template_version=1,
        keys=keys or Keys(),
    )
    return IdentityRequest(record, "zurich", HOME, SYSTEM, "here", {"a": "b"}, validator=True)


def client(api: Api) -> KubeClient:
    return cast(KubeClient, api)


async def masters(api: Api, keys: Keys | None = None) -> dict[KeyRole, Master]:
    return await ensure_masters(client(api), request(keys))


def recorded(found: dict[KeyRole, Master]) -> Keys:
    return keys_of(Keys(), {role: master.facts for role, master in found.items()})


async def test_keys_of_a_new_node_are_made_and_handed_out_without_a_read() -> None:
    api = Api()
    found = await masters(api)
    await ensure_copies(client(api), request(recorded(found)), found, first=list(found))
    assert (api.reads, api.writes) == (0, 6)


async def test_i5_killed_before_the_record_the_next_run_takes_up_the_keys_that_are_there() -> None:
    api = Api()
    first = await masters(api)
    again = await masters(api)
    assert {role: one.facts for role, one in again.items()} == {role: one.facts for role, one in first.items()}
    assert {role: one.secret["data"] for role, one in again.items()} == {
        role: one.secret["data"] for role, one in first.items()
    }


async def test_i5_a_recorded_key_whose_secret_is_gone_is_lost_and_nothing_is_posted() -> None:
    api = Api()
    keys = recorded(await masters(api))
    api.remove(kinds.SECRET, labels.master_validator_key_secret(NODE_ID), SYSTEM)
    writes = api.writes
    with pytest.raises(IdentityProblem) as told:
        await masters(api, keys)
    assert told.value.reason is Reason.KEY_LOST
    assert api.writes == writes


async def test_i5_a_copy_that_is_there_is_compared_although_none_was_expected() -> None:
    """``first`` saves a read, not the look: the POST that fails reads what is there."""
    api, other = Api(), Api()
    found, foreign = await masters(api), await masters(other)
    await ensure_copies(client(api), request(recorded(foreign)), foreign, first=list(foreign))
    with pytest.raises(IdentityProblem) as told:
        await ensure_copies(client(api), request(recorded(found)), found, first=list(found))
    assert told.value.reason is Reason.KEY_FOREIGN


async def test_i5_what_the_record_does_not_name_is_not_handed_out() -> None:
    api = Api()
    found = await masters(api)
    writes = api.writes
    with pytest.raises(ValueError, match="not recorded"):
        await ensure_copies(client(api), request(), found)
    assert api.writes == writes
