"""The gate on a real API server: compare-and-swap, fences, preconditions, and what the audit log says about it."""

from __future__ import annotations

import asyncio

import pytest

from jil.api import kinds, labels
from jil.cluster.client import KubeClient
from jil.cluster.disruption import Gate, TakeBack
from jil.cluster.errors import Conflict, NotFound
from jil.cluster.grant import Grant
from jil.cluster.ledger import CLOSED_MAX, REASON_MAX, FencedError, Leadership, LedgerStore, Outcome
from jil.cluster.request import Disruption
from jil.cluster.stamps import STAMP, StampClient, read_stamp
from jil.plan.acts import VALIDATOR, Act
from jil.plan.verdict import Deny, DenyReason, Impossible
from tests.audit import check
from tests.cluster.gate.rig import BlockTime, Network, gone, perform, until

VALIDATOR_ACTS = [Act.STOP, Act.DISARM, Act.DELETE_POD, Act.DRAIN, Act.DELETE_WORKLOAD]


def granted(answer: Grant | Deny | Impossible) -> Grant:
    assert isinstance(answer, Grant), answer
    return answer


def reason(answer: Grant | Deny | Impossible) -> DenyReason:
    assert isinstance(answer, Deny), answer
    return answer.reason


def is_a_gate_client(client: KubeClient) -> StampClient:
    """Checked by mypy: the real client has what the gate asks of its client."""
    return client


# -- compare-and-swap --------------------------------------------------------------------------------------------------
async def test_i2_gates_that_race_for_the_last_place_give_exactly_one_grant(network: Network) -> None:
    gates = [network.gate(1, "one-holder") for _ in range(4)]
    for round_ in range(8):
        answers = await asyncio.gather(*(network.ask(gate, index) for index, gate in enumerate(gates)))
        won = [answer for answer in answers if isinstance(answer, Grant)]
        assert len(won) == 1, f"round {round_}: {answers}"
        lost = {reason(answer) for answer in answers if not isinstance(answer, Grant)}
        assert lost <= {DenyReason.QUORUM, DenyReason.LEDGER_BUSY}
        assert [one.id for one in (await network.ledger()).open] == [won[0].id]
        assert await gates[0].take_back(network.name, won[0], why="next round") is TakeBack.TAKEN_BACK
        network.height += 20


async def test_i2_first_users_that_race_to_make_the_ledger_make_one(network: Network) -> None:
    gates = [network.gate(1, "one-holder") for _ in range(4)]
    answers = await asyncio.gather(*(gate.establish(network.name, ledger_existed=False) for gate in gates))
    assert answers == [None] * 4
    assert (await network.ledger()).open == ()


# -- fencing -----------------------------------------------------------------------------------------------------------
async def test_i2_an_old_leader_is_refused_once_a_new_one_has_sealed(network: Network) -> None:
    old, new = network.gate(1), network.gate(2)
    grant = granted(await network.ask(old, 0))
    assert await new.establish(network.name, ledger_existed=True) is None
    before = await network.ledger()
    assert reason(await network.ask(old, 1)) is DenyReason.FENCED
    assert reason(await network.ask(old, 0)) is DenyReason.FENCED, "not even its own grant again"
    with pytest.raises(FencedError, match="process-2 with fence 2"):
        await old.release(network.name, grant, why="I think it is back")
    with pytest.raises(FencedError):
        await old.take_back(network.name, grant, why="I do not want it")
    assert await network.ledger() == before


async def test_i2_an_old_leader_that_slept_between_its_look_and_its_write_loses_the_swap(network: Network) -> None:
    old, new = network.gate(1), network.gate(2)
    assert await old.establish(network.name, ledger_existed=False) is None
    store = LedgerStore(network.client(), network.system)
    seen = await store.read(network.name)
    assert await new.establish(network.name, ledger_existed=True) is None
    with pytest.raises(Conflict):
        await store.write(seen, seen.ledger.stepped("late", 1))
    assert (await network.ledger()).seal.fence == 2


# -- preconditions -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("act", VALIDATOR_ACTS)
async def test_i8_an_act_that_arrives_after_its_grant_was_taken_back_is_refused_by_the_server(
    network: Network, act: Act
) -> None:
    gate, client = network.gate(), network.client()
    grant = granted(await network.ask(gate, 0, act))
    assert await gate.take_back(network.name, grant, why="not wanted") is TakeBack.TAKEN_BACK
    with pytest.raises(Conflict):
        await perform(client, grant)
    pod = await client.get(kinds.POD, network.pod(0), network.namespace)
    assert "deletionTimestamp" not in pod["metadata"]
    live = await client.get(kinds.STATEFUL_SET, network.workload(0), network.namespace)
    assert live["spec"]["replicas"] == 1
    assert live["spec"]["updateStrategy"]["rollingUpdate"]["partition"] == 1


@pytest.mark.parametrize("act", [Act.STOP, Act.DELETE_POD])
async def test_i8_an_act_of_a_paused_leader_that_arrives_after_the_release_is_refused(
    network: Network, act: Act
) -> None:
    paused, leader = network.gate(1), network.gate(2)
    late = granted(await network.ask(paused, 0, act))
    [entry] = await leader.open_grants(network.name)
    assert await leader.release(network.name, entry, why="it is healthy")
    with pytest.raises(Conflict):
        await perform(network.client(), late)


@pytest.mark.parametrize("act", [Act.DELETE_POD, Act.STOP, Act.DISARM, Act.DELETE_WORKLOAD])
async def test_i2_a_request_with_a_stale_resource_version_is_refused(network: Network, act: Act) -> None:
    client = network.client()
    grant = granted(await network.ask(network.gate(), 0, act))
    target = grant.target
    await client.annotate(target.kind, target.name, target.namespace, {"somebody": "else"}, uid=target.uid)
    with pytest.raises(Conflict):
        await perform(client, grant)


async def test_i2_a_pod_that_came_back_under_the_same_name_is_not_hit_by_the_grant_for_the_one_before(
    network: Network,
) -> None:
    client = network.client()
    grant = granted(await network.ask(network.gate(), 0, Act.DELETE_POD))
    path = kinds.POD.path(namespace=network.namespace, name=network.pod(0))
    network.admin.delete(path)
    await until(
        lambda: network.admin.exists(path) and network.admin.get(path)["metadata"]["uid"] != grant.target.uid,
        "the StatefulSet makes a new pod",
    )
    with pytest.raises(Conflict):
        await perform(client, grant)


async def test_i2_a_target_that_moved_on_before_the_request_is_refused_by_the_gate(network: Network) -> None:
    wanted = await network.disruption(0)
    await network.client().annotate(
        kinds.STATEFUL_SET, network.workload(0), network.namespace, {"a": "b"}, uid=wanted.target.uid
    )
    gate = network.gate()
    answer = await gate.request(wanted, network.facts(), ledger_existed=False)
    assert reason(answer) is DenyReason.TARGET_CHANGED


# -- the ledger --------------------------------------------------------------------------------------------------------
async def test_i2_a_ledger_deleted_by_hand_denies_until_it_is_rebuilt_from_the_stamps(network: Network) -> None:
    gate, client = network.gate(), network.client()
    stop = granted(await network.ask(gate, 0))
    before = (await network.ledger()).open
    network.lose_the_ledger()
    network.existed = True
    assert reason(await network.ask(gate, 1)) is DenyReason.LEDGER_MISSING
    assert await gate.rebuild(network.name, [network.namespace]) == before
    with pytest.raises(Conflict):
        await perform(client, stop)
    network.height += 100
    assert reason(await network.ask(gate, 1)) is DenyReason.QUORUM, "who was away by plan is known again"
    network.height += 10
    again = granted(await network.ask(gate, 0))
    assert again.id == stop.id
    await perform(client, again)


async def test_i2_a_stamp_changes_no_pod(network: Network) -> None:
    client = network.client()
    pod = await network.ref(kinds.POD, network.pod(0))
    revision = await _revision(client, network)
    grant = granted(await network.ask(network.gate(), 0, Act.DRAIN))
    stamped = await client.get(kinds.STATEFUL_SET, network.workload(0), network.namespace)
    entry = read_stamp(stamped)
    assert entry is not None
    assert entry.id == grant.id
    assert await _revision(client, network) == revision
    assert await network.ref(kinds.POD, network.pod(0)) == pod
    assert stamped["metadata"]["generation"] == 1


async def _revision(client: KubeClient, network: Network) -> str:
    live = await client.get(kinds.STATEFUL_SET, network.workload(0), network.namespace)
    return str(live["status"]["updateRevision"])


async def test_i2_a_full_ledger_still_fits_into_its_config_map(network: Network) -> None:
    gate = network.gate()
    granted(await network.ask(gate, 0, reason="𝔍" * 1_000, requested_by="𝔍" * 1_000))
    store = LedgerStore(network.client(), network.system)
    stored = await store.read(network.name)
    [entry] = stored.ledger.open
    done = entry.model_copy(
        update={"outcome": Outcome.RETURNED, "closed_at": entry.granted_at, "note": "𝔍" * REASON_MAX}
    )
    full = stored.ledger.model_copy(update={"open": (entry,) * 100, "closed": (done,) * CLOSED_MAX})
    await store.write(stored, full)
    assert (await network.ledger()) == full, "100 validators away and a full history are stored whole"


# -- crashes -----------------------------------------------------------------------------------------------------------
class Crash(Exception):
    """The process died here."""


class MortalClient:
    """The real client, which dies after so many of its writes have been carried out."""

    def __init__(self, client: KubeClient, writes: int) -> None:
        self._client = client
        self._left = writes

    def __getattr__(self, name: str) -> object:
        method = getattr(self._client, name)
        if name in ("get", "list"):
            return method

        async def write(*args: object, **kwargs: object) -> object:
            answer = await method(*args, **kwargs)
            self._left -= 1
            if self._left == 0:
                raise Crash(name)
            return answer

        return write


@pytest.mark.parametrize("writes", [1, 2, 3, 4, 5, 6])
async def test_i8_killed_after_any_write_the_next_leader_finishes_with_one_act(network: Network, writes: int) -> None:
    mortal = MortalClient(network.client(), writes)
    leader = Leadership("process-1", 1)
    first = Gate(mortal, system_namespace=network.system, clock=BlockTime(network), leadership=lambda: leader)  # type: ignore[arg-type]
    uid = (await network.ref(kinds.POD, network.pod(0))).uid
    since = network.plane.audit_position()
    try:
        grant = granted(await network.ask(first, 0, Act.DELETE_POD))
        await perform(mortal, grant)  # type: ignore[arg-type]
        await first.release(network.name, grant, why="back")
        died = False
    except Crash:
        died = True
    assert died
    await network.settled(0)  # if the pod was deleted, its successor is there
    second, client = network.gate(2), network.client()
    network.height += 20
    if (await client.get(kinds.POD, network.pod(0), network.namespace))["metadata"]["uid"] == uid:
        await perform(client, granted(await network.ask(second, 0, Act.DELETE_POD)))
    for entry in await second.open_grants(network.name):
        await second.release(network.name, entry, why="back")
    ledger = await network.ledger()
    assert ledger.open == ()
    assert [one.outcome for one in ledger.closed] == [Outcome.RETURNED], "one grant, whoever died"
    live = await client.get(kinds.STATEFUL_SET, network.workload(0), network.namespace)
    assert STAMP not in (live["metadata"].get("annotations") or {})
    network.height += 20
    granted(await network.ask(second, 1))
    requests = check(network.plane.audit_entries(since), user=network.user, system_namespace=network.system)
    requests.assert_clean()
    assert len(requests.covered) == 1, "the pod was deleted once"


# -- the audit log -----------------------------------------------------------------------------------------------------
async def test_i2_every_disruptive_request_in_the_audit_log_maps_to_a_grant(network: Network) -> None:
    gate, client = network.gate(), network.client()
    since = network.plane.audit_position()
    for index, act in enumerate((Act.STOP, Act.DISARM, Act.DELETE_POD, Act.DELETE_WORKLOAD)):
        grant = granted(await network.ask(gate, index, act))
        await perform(client, grant)
        assert await gate.release(network.name, grant, why="back, for the sake of the test")
        network.height += 20
    service = {**kinds.SERVICE.head("left-over", network.namespace), "spec": {"ports": [{"port": 80}]}}
    await client.create(kinds.SERVICE, service)
    node = f"{network.namespace}/{network.node(0)}"
    for act, kind, name, component in (
        (Act.PRUNE, kinds.SERVICE, "left-over", "transfers"),
        (Act.SERVING_OFF, kinds.POD, network.pod(1), VALIDATOR),
    ):
        target = await network.ref(kind, name)
        wanted = Disruption(act, network.name, node, component, target, None, "test")
        await perform(client, granted(await gate.request(wanted, network.facts(), ledger_existed=True)))
    assert await gone(client, kinds.SERVICE, "left-over", network.namespace)

    report = check(network.plane.audit_entries(since), user=network.user, system_namespace=network.system)
    report.assert_clean(at_least=6)
    operations = sorted((one.operation, one.resource) for one, _ in report.covered)
    assert operations == [
        ("delete", "pods"),
        ("delete", "services"),
        ("delete", "statefulsets"),
        ("disarm", "statefulsets"),
        ("scale", "statefulsets"),
        ("serving-off", "pods"),
    ]
    assert len({grant for _, grant in report.covered}) == 6


async def test_i2_a_planted_violation_is_found_in_the_audit_log(network: Network) -> None:
    """Requests without a grant, as the operator's user, past its client: the witness must see every one."""
    rogue = network.plane.client(network.user, ["system:masters"], agent="jil-operator/0.1.0")
    since = network.plane.audit_position()
    workload = kinds.STATEFUL_SET.path(namespace=network.namespace, name=network.workload(0))
    pod = kinds.POD.path(namespace=network.namespace, name=network.pod(1))
    rogue.merge(workload, {"spec": {"replicas": 0}})
    rogue.merge(workload, {"spec": {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}}})
    rogue.merge(pod, {"metadata": {"labels": {labels.SERVING: None}}})
    rogue.request("POST", f"{pod}/eviction", {"metadata": {"name": network.pod(1), "namespace": network.namespace}})
    rogue.delete(kinds.STATEFUL_SET.path(namespace=network.namespace, name=network.workload(2)))
    rogue.delete(kinds.POD.path(namespace=network.namespace) + f"?labelSelector={labels.APP_INSTANCE}=nobody")
    report = check(network.plane.audit_entries(since), user=network.user, system_namespace=network.system)
    assert [one.request.operation for one in report.violations] == [
        "scale",
        "disarm",
        "serving-off",
        "delete",
        "delete",
        "deletecollection",
    ]
    with pytest.raises(AssertionError, match="names no grant"):
        report.assert_clean()


async def test_i2_a_grant_cannot_be_used_for_another_act_or_twice(network: Network) -> None:
    gate, client = network.gate(), network.client()
    grant = granted(await network.ask(gate, 0, Act.DELETE_POD))
    await perform(client, grant)
    with pytest.raises((Conflict, NotFound)):
        await perform(client, grant)
    with pytest.raises(ValueError, match="this act is for"):
        await client.scale(grant, 0)
