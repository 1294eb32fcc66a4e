"""The work queue in virtual time."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest

from jil.engine.queue import BackOff, Key, QueueClosed, WorkQueue

pytestmark = pytest.mark.looptime


def key(name: str, namespace: str = "a", kind: str = "JILNode") -> Key:
    return Key(kind, namespace, name)


def now() -> float:
    return asyncio.get_running_loop().time()


def queue(**more: object) -> WorkQueue:
    return WorkQueue(clock=now, chance=lambda: 0.0, **more)  # type: ignore[arg-type]


async def taken(q: WorkQueue) -> list[str]:
    """Everything that is due, each marked done."""
    names = []
    while q.depth():
        one = await q.get()
        names.append(one.name)
        q.done(one)
    return names


async def test_a_key_added_twice_waits_once() -> None:
    q = queue()
    q.add(key("x"))
    q.add(key("x"))
    q.add(key("y"))
    assert q.depth() == 2
    assert await taken(q) == ["x", "y"]


async def test_a_key_under_way_is_not_given_out_again_but_comes_again_afterwards() -> None:
    q = queue()
    q.add(key("x"))
    one = await q.get()
    q.add(key("x"))
    q.add(key("x"))
    assert q.depth() == 0
    q.done(one)
    assert await taken(q) == ["x"]


async def test_lanes_take_turns_so_that_a_big_namespace_does_not_starve_a_small_one() -> None:
    q = queue()
    for number in range(100):
        q.add(key(f"big{number}", "big"))
    q.add(key("small", "small"))
    q.add(Key("JILNetwork", None, "main"))
    order = await taken(q)
    assert order.index("small") <= 2
    assert order.index("main") <= 2
    assert len(order) == 102


async def test_a_delayed_key_comes_when_it_is_due() -> None:
    q = queue()
    q.add_after(key("x"), 10)
    assert (await q.get()).name == "x"
    assert now() == pytest.approx(10)


async def test_the_earlier_of_two_dates_holds() -> None:
    q = queue()
    q.add_after(key("x"), 10)
    q.add_after(key("x"), 5)
    q.add_after(key("x"), 20)
    one = await q.get()
    assert now() == pytest.approx(5)
    q.done(one)
    assert q.delayed() == 0


async def test_an_event_comes_before_the_date_and_takes_its_place() -> None:
    q = queue()
    q.add_after(key("x"), 10)
    q.add(key("x"))
    q.done(await q.get())
    assert q.delayed() == 0
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(60):
            await q.get()


async def test_a_date_set_during_the_work_holds_after_it() -> None:
    q = queue()
    q.add(key("x"))
    one = await q.get()
    q.add_after(key("x"), 3)
    q.done(one)
    await q.get()
    assert now() == pytest.approx(3)


async def test_a_date_that_passes_during_the_work_is_not_lost() -> None:
    q = queue()
    q.add(key("x"))
    one = await q.get()
    q.add_after(key("x"), 3)
    waiting = asyncio.create_task(q.get())
    await asyncio.sleep(5)
    assert not waiting.done()
    q.done(one)
    assert (await waiting).name == "x"


async def test_failures_back_off_exponentially_up_to_a_limit_and_forget_resets() -> None:
    q = queue(backoff=BackOff(base=1, limit=10))
    delays = [q.retry(key("x")) for _ in range(6)]
    assert delays == [0.5, 1, 2, 4, 5, 5]
    q.forget(key("x"))
    assert q.retry(key("x")) == 0.5


async def test_retry_after_of_the_server_is_the_least_delay() -> None:
    assert queue().retry(key("x"), at_least=42) == 42


@pytest.mark.parametrize(("chance", "expected"), [(0.0, 4.0), (0.999999, 8.0)])
def test_jitter_takes_up_to_half_of_a_back_off(chance: float, expected: float) -> None:
    assert BackOff(base=1, limit=100).delay(4, chance) == pytest.approx(expected, abs=0.01)


def test_a_thousand_failures_do_not_overflow() -> None:
    assert BackOff().delay(1000, 0.5) == 225.0


async def test_closing_ends_waiting_workers_and_takes_nothing_more() -> None:
    q = queue()
    workers = [asyncio.create_task(q.get()) for _ in range(3)]
    await asyncio.sleep(0)
    q.close()
    q.add(key("x"))
    results = await asyncio.gather(*workers, return_exceptions=True)
    assert all(isinstance(result, QueueClosed) for result in results)
    assert q.depth() == 0


async def test_work_under_way_may_end_after_closing() -> None:
    q = queue()
    q.add(key("x"))
    one = await q.get()
    q.add(key("x"))
    q.close()
    q.done(one)
    assert q.depth() == 0
    assert q.working() == 0


async def test_clear_forgets_what_waits_and_every_back_off() -> None:
    q = queue()
    q.add(key("x"))
    q.retry(key("y"))
    q.clear()
    assert (q.depth(), q.delayed(), q.failures(key("y"))) == (0, 0, 0)


async def test_the_observer_hears_how_long_a_key_waited_since_it_was_due() -> None:
    heard: list[tuple[str, float]] = []

    class Observer:
        def waited(self, one: Key, seconds: float) -> None:
            heard.append((one.name, seconds))

        def retried(self, one: Key) -> None:
            heard.append((f"retry {one.name}", 0.0))

    q = queue(observer=Observer())
    q.add(key("now"))
    q.add_after(key("later"), 2)
    await asyncio.sleep(5)
    q.retry(key("z"))
    q.done(await q.get())
    assert q.age() == pytest.approx(3)
    q.done(await q.get())
    assert heard == [("retry z", 0.0), ("now", 5), ("later", pytest.approx(3))]


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_happens_no_key_is_lost_and_none_is_worked_on_twice_at_once(seed: int) -> None:
    """Four workers, random events, failures, delays: after the last event every key is looked at once more."""
    chance = random.Random(seed)
    q = WorkQueue(clock=now, chance=chance.random, backoff=BackOff(0.1, 5))
    under_way: set[Key] = set()
    last_event: dict[Key, float] = {}
    last_look: dict[Key, float] = {}
    looks: Counter[Key] = Counter()

    async def worker() -> None:
        while True:
            one = await q.get()
            assert one not in under_way
            under_way.add(one)
            last_look[one] = now()
            looks[one] += 1
            await asyncio.sleep(chance.random())
            under_way.discard(one)
            if chance.random() < 0.3:
                q.retry(one)
            else:
                q.forget(one)
                if chance.random() < 0.3:
                    q.add_after(one, chance.random() * 20)
            q.done(one)

    workers = [asyncio.create_task(worker()) for _ in range(4)]
    keys = [key(f"n{number}", f"ns{number % 5}") for number in range(30)]
    for _ in range(150):
        one = chance.choice(keys)
        q.add(one, routine=chance.random() < 0.5)
        last_event[one] = now()
        await asyncio.sleep(chance.random() * 0.3)
    await asyncio.sleep(100)
    for worker_task in workers:
        assert not worker_task.done()
        worker_task.cancel()
    assert all(last_look[one] >= last_event[one] for one in last_event)
    assert looks.total() > 150


async def test_news_comes_before_routine_and_of_four_keys_one_is_routine() -> None:
    q = queue()
    for number in range(6):
        q.add(key(f"r{number}"), routine=True)
    for number in range(6):
        q.add(key(f"n{number}", "b"))
    assert await taken(q) == ["n0", "n1", "n2", "r0", "n3", "n4", "n5", "r1", "r2", "r3", "r4", "r5"]


async def test_news_of_a_key_that_waits_by_routine_brings_it_forward() -> None:
    q = queue()
    for number in range(5):
        q.add(key(f"r{number}"), routine=True)
    q.add(key("r3"))
    q.add(key("r3"), routine=True)
    assert q.depth() == 5
    assert await taken(q) == ["r3", "r0", "r1", "r2", "r4"]


async def test_news_of_a_key_under_way_is_news_afterwards_whatever_routine_says() -> None:
    q = queue()
    q.add(key("x"))
    one = await q.get()
    q.add(key("x"), routine=True)
    q.add(key("x"))
    q.add(key("y"), routine=True)
    q.done(one)
    assert await taken(q) == ["x", "y"]


async def test_a_date_is_news_when_either_of_two_is_and_the_earlier_one_holds() -> None:
    q = queue()
    q.add_after(key("both"), 5, routine=True)
    q.add_after(key("both"), 10)
    q.add_after(key("routine"), 4, routine=True)
    q.add_after(key("routine"), 4, routine=True)
    await asyncio.sleep(5)
    one = await q.get()
    assert (one.name, q.depth(), q.delayed()) == ("both", 1, 0)
    q.done(one)
    assert await taken(q) == ["routine"]


async def test_routine_lanes_take_turns_too() -> None:
    q = queue()
    for number in range(50):
        q.add(key(f"big{number}", "big"), routine=True)
    q.add(key("small", "small"), routine=True)
    assert (await taken(q)).index("small") <= 1


async def test_clearing_leaves_nothing_of_either_sort() -> None:
    q = queue()
    q.add(key("x"))
    q.add(key("y"), routine=True)
    q.clear()
    q.add(key("z"), routine=True)
    assert await taken(q) == ["z"]
