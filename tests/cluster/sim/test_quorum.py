"""I2 on a simulated chain of four equal validators: one may go at a time, and only on evidence from several nodes.

The chain, the health endpoints and the kubelets are simulated (tests/sim); operator, gate, ledger and API server are
real. Every block is 0.2 s, so that ten commits are two seconds.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator

import pytest

from tests import audit
from tests.cluster.sim.conftest import Network, make_network
from tests.sim.chain import Lie
from tests.sim.home import Home
from tests.sim.world import JIL, World

CORE = "/api/v1/namespaces"


@pytest.fixture
def four(world: World) -> Iterator[Network]:
    """Four founders, all of them Ready and signing; none of them halted at any time while the test ran."""
    network = make_network(world, 4)
    network.declare(world)
    for home in network.homes:
        world.until_ready(home.namespace, home.name, 120)
    world.until(lambda: _signed_by_all(world, network.name), "ten commits with everybody's signature")
    begun = world.validators.chain(network.name).height
    yield network
    chain = world.validators.chain(network.name)
    world.health.answers.clear()
    times = [chain.blocks[height].time for height in range(max(begun, min(chain.blocks)), chain.height + 1)]
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert max(gaps) < 2 * chain.interval_s, "the chain stood still"
    assert world.validators.violations() == []


def _signed_by_all(world: World, network: str) -> bool:
    chain = world.validators.chain(network)
    height = chain.height  # others make blocks meanwhile
    last = [chain.blocks[number] for number in range(max(1, height - 11), height + 1)]
    return len(last) == 12 and all(len(block.signed) == 4 for block in last)


def _signs_with_three(world: World, network: str) -> bool:
    chain = world.validators.chain(network)
    return len(chain.blocks[chain.height].signed) == 3


def _stop(world: World, home: Home) -> None:
    world.patch_node(home.namespace, home.name, {"state": "Stopped"})


def _start(world: World, home: Home) -> None:
    world.patch_node(home.namespace, home.name, {"state": "Running"})
    world.until_ready(home.namespace, home.name, 120)


def _until_stopped(world: World, home: Home) -> None:
    world.until(lambda: world.phase(home.namespace, home.name) == "Stopped", f"{home.name} to be stopped", 120)


def _refused(world: World, home: Home, *words: str | tuple[str, ...]) -> None:
    """Waits for a refusal with all these words (of a tuple: one of them)."""

    def told() -> bool:
        waiting = world.get_node(home.namespace, home.name)["status"].get("waitingFor", {})
        found = [
            any(w in waiting.get("message", "") for w in ((one,) if isinstance(one, str) else one)) for one in words
        ]
        return waiting.get("reason") == "WaitingForGrant" and all(found)

    world.until(told, f"a refusal with {words}")
    assert len(world.api.get(f"{CORE}/{home.namespace}/pods")["items"]) == 6, "a node that may not stop stays whole"


def test_i2_one_of_four_is_stopped_and_the_second_waits_until_the_first_is_back(world: World, four: Network) -> None:
    first, second = four.homes[:2]
    since = world.plane.audit_position()
    _stop(world, first)
    _until_stopped(world, first)
    _stop(world, second)
    _refused(world, second, "20 of 40 voting power would be left", "27 are needed", first.node_id)
    world.until(lambda: _signs_with_three(world, four.name), "blocks without the one that is stopped")
    _start(world, first)
    _until_stopped(world, second)
    _start(world, second)
    audit.check(world.plane.audit_entries(since), user="admin").assert_clean(at_least=2)


def test_i2_a_node_that_does_not_answer_counts_as_away_and_is_never_permission(world: World, four: Network) -> None:
    target, silent = four.homes[:2]
    world.health.answers[(silent.namespace, silent.name)] = None
    world.until(
        lambda: world.condition(silent.namespace, silent.name, "ValidatorReady").get("reason") == "HealthUnreadable",
        "the silence to be seen",
    )
    _stop(world, target)
    _refused(world, target, "20 of 40", silent.node_id)
    for home in four.homes:
        world.health.answers[(home.namespace, home.name)] = None
    _refused(world, target, "the chain was read from", "2 are needed")
    world.health.answers.clear()
    _until_stopped(world, target)
    _start(world, target)


def test_i2_a_validator_cut_off_from_its_peers_counts_as_away(world: World, four: Network) -> None:
    target, cut = four.homes[:2]
    world.validators.cut(four.name, [world.validators.address(cut.namespace, cut.name)])
    chain = world.validators.chain(four.name)
    since = chain.height
    # One missing signature is no absence: who has signed any of the last ten commits votes.
    world.until(
        lambda: world.validators.chain(four.name).height > since + 11,
        "more blocks without it than commits are looked at",
    )
    assert _signs_with_three(world, four.name)
    _stop(world, target)
    _refused(world, target, "20 of 40", cut.node_id)
    world.validators.heal(four.name)
    _until_stopped(world, target)
    _start(world, target)


def test_i2_of_two_answers_the_worse_one_counts(world: World, four: Network) -> None:
    target, accused, liar = four.homes[:3]
    chain = world.validators.chain(four.name)
    said_by = world.validators.address(liar.namespace, liar.name)
    about = world.validators.address(accused.namespace, accused.name)
    chain.lie(said_by, Lie(silent=frozenset({about})))
    _stop(world, target)
    _refused(world, target, "20 of 40", accused.node_id)
    chain.lie(said_by, Lie(powers={**chain.powers, "F" * 40: 10}))
    # At one height the sets are compared; a node that is a block ahead has a stranger in its set who signs nothing.
    _refused(world, target, ("two nodes give different validator sets", "F" * 40))
    chain.lie(said_by, Lie(chain_id="another-chain"))
    _refused(world, target, "20 of 40", liar.node_id)
    chain.lie(said_by, None)
    _until_stopped(world, target)
    _start(world, target)


def test_i1_the_record_knows_what_was_signed_and_an_old_copy_of_the_sign_state_does_not_start(
    world: World, four: Network
) -> None:
    home = four.homes[0]
    path = f"{JIL}/namespaces/{home.namespace}/jilnodes/{home.name}"
    looks = itertools.count()

    def recorded() -> bool:
        # A node at rest is looked at once a minute; a label makes the operator look now.
        world.api.merge(path, {"metadata": {"labels": {"look": str(next(looks))}}})
        time.sleep(1.0)
        return int(world.record(home.node_id)["spec"].get("highestSignedHeight", 0)) >= 9

    world.until(recorded, "the height to be recorded")
    recorded = world.record(home.node_id)["spec"]["highestSignedHeight"]
    assert recorded <= world.validators.chain(four.name).height
    _stop(world, home)
    _until_stopped(world, home)
    claim = world.api.get(f"{CORE}/{home.namespace}/persistentvolumeclaims/{home.name}-validator")
    volume = claim["spec"]["volumeName"]
    kept = world.validators.sign_states[volume]
    assert kept >= recorded
    world.validators.sign_states[volume] = recorded - 1  # somebody restored a snapshot
    world.patch_node(home.namespace, home.name, {"state": "Running"})
    world.until(
        lambda: "container guard" in world.condition(home.namespace, home.name, "ValidatorReady").get("message", ""),
        "the guard's refusal to be told",
    )
    assert world.validators.view(home.namespace, home.name) is None
    world.validators.sign_states[volume] = kept
    world.until_ready(home.namespace, home.name, 120)
