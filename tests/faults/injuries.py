"""The faults themselves: scripts for the proxy that strike once, at one place, and what is done about it afterwards.

An injury is armed while the operator is at rest and before a turn begins. ``struck`` says that its moment came;
``tend`` is called while the turn goes on (a crashed operator is started again, a paused one goes on). All of them are
counted from the beginning of the turn, so that a point is the same in every run.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import time
from collections.abc import AsyncIterator, Sequence

from tests.faults.old_lists import OldLists
from tests.faults.proxy import Answer, Exchange, Forward, Script, error_line, status
from tests.faults.rig import FaultFound, Rig, Slot

#: Seconds that a delayed answer, request or event is late.
DELAY = 1.5


#: What an operator says when its term is over.
_LOST = "not leading any more"


def _log(slot: Slot, start: int = 0) -> str:
    """What the operator that lives there has written, from a character on."""
    return slot.life.log_from(start) if slot.life is not None else ""


class Injury(Script):
    """One fault at one place."""

    lawful = True
    """Whether all that the server sees of the operators must be lawful (else the proxy itself bends the history)."""
    about = ""
    """What the requests that are counted are about: a pattern for "METHOD /path"; "" counts all."""

    def __init__(self, index: int) -> None:
        """``index`` counts what the injury counts (steps, requests, watch events) from 1."""
        self.index = index
        self.struck = False
        self._seen = 0

    def arm(self, rig: Rig) -> None:
        """Put it between the working operator and the server."""
        rig.a.proxy.script = self

    def tend(self, rig: Rig) -> bool:
        """Do what has to be done next; True when nothing is left to do."""
        return self.struck

    def settle(self, rig: Rig) -> None:
        """Called when the turn has ended and all is calm: what is left to let loose. The operator is ``rig.a`` after."""

    def _counts(self, exchange: Exchange) -> bool:
        """Whether the request is one of those that are counted."""
        return exchange.step

    def _meant(self, exchange: Exchange) -> bool:
        return bool(re.search(self.about, f"{exchange.method} {exchange.path.partition('?')[0]}"))

    def _strikes(self, exchange: Exchange) -> bool:
        if self.struck or not self._counts(exchange) or not self._meant(exchange):
            return False
        self._seen += 1
        if self._seen == self.index:
            self.struck = True
            return True
        return False


class _AfterStep(Injury):
    """Lets exactly the first ``index`` steps through, in the order in which they arrive, then stops the process.

    With ``about``: of those that are meant; what else is under way when the last of them is answered may get through.
    """

    deadly = signal.SIGKILL

    def __init__(self, index: int) -> None:
        super().__init__(index)
        self._admitted = 0
        self._answered = 0
        self._freed: asyncio.Event | None = None
        self._held = 0
        self._slot: Slot | None = None

    def arm(self, rig: Rig) -> None:
        self._slot = rig.a
        super().arm(rig)

    @contextlib.asynccontextmanager
    async def _holding(self) -> AsyncIterator[None]:
        """A request that goes no further until the injury lets it."""
        assert self._freed is not None
        self._held += 1
        try:
            await self._freed.wait()
            yield
        finally:
            self._held -= 1

    async def exchange(self, exchange: Exchange, forward: Forward) -> Answer | None:
        if self._freed is None:
            self._freed = asyncio.Event()
        if (self.struck and not exchange.watch) or (exchange.step and self._admitted >= self.index):
            async with self._holding():
                return None
        if not exchange.step or not self._meant(exchange):
            return await forward()
        self._admitted += 1
        try:
            answer = await forward()
        finally:
            # Also when the client did not wait for the answer: then nobody knows what became of the request.
            self._answered += 1
            if self._answered == self.index:
                self.struck = True
                assert self._slot is not None
                self._slot.signal(self.deadly)
        if self.struck:
            async with self._holding():
                return None
        return answer


class Crash(_AfterStep):
    """SIGKILL after step ``index`` was carried out and before its answer arrives; another life begins."""

    def __init__(self, index: int) -> None:
        super().__init__(index)
        self._again = False

    def tend(self, rig: Rig) -> bool:
        if self.struck and not self._again:
            rig.a.kill()
            rig.ensure()
            self._again = True
        return self._again


class TwoLeaders(_AfterStep):
    """SIGSTOP after step ``index``; another operator takes over when the lease has run out; then the first goes on.

    What it had under way is cut off, as a network does that the kernel gave up on; it writes nothing any more.
    """

    deadly = signal.SIGSTOP

    def __init__(self, index: int) -> None:
        super().__init__(index)
        self._taken_over = False
        self._written = 0

    def arm(self, rig: Rig) -> None:
        rig.b.proxy.script = Script()
        if not rig.b.alive:
            rig.b.begin(rig.plant)
        super().arm(rig)

    def tend(self, rig: Rig) -> bool:
        if self.struck and not self._taken_over:
            rig.until(lambda: rig.holder() == rig.b.user, "the other operator to take over")
            self._written = len(_log(rig.b))
            self._taken_over = True
        return self._taken_over

    def settle(self, rig: Rig) -> None:
        """All is calm under the new leader: now the old one goes on, with everything that it had in mind."""
        self._loose(rig)
        rig.a.proxy.script = Script()
        before, said = rig.a.proxy.steps, len(_log(rig.a))
        rig.a.signal(signal.SIGCONT)
        rig.until(
            lambda: rig.a.proxy.steps > before or _LOST in _log(rig.a, said), "the deposed leader to see that it is one"
        )
        time.sleep(1.2)
        if _LOST in _log(rig.b, self._written):
            return  # The machine stood still, and the new leader's term is over too: what is lawful then, the log proves.
        if (wrote := rig.a.proxy.steps - before) > 0:
            raise FaultFound(f"the deposed leader sent {wrote} writes after it was resumed: {rig.recent(wrote)}")
        if rig.holder() != rig.b.user:
            raise FaultFound(f"the lease went from {rig.b.user} to {rig.holder()!r} though its holder was well")
        rig.a, rig.b = rig.b, rig.a  # the new leader is the one that works

    def _loose(self, rig: Rig) -> None:
        loop = rig.a.proxy.loop
        if self._freed is not None and loop is not None:
            loop.call_soon_threadsafe(self._freed.set)
            rig.until(lambda: self._held == 0, "what was held to go its way")


class Overtaken(TwoLeaders):
    """As with two leaders, but step ``index`` itself is still on its way when the process is stopped, and arrives when
    the new leader has long brought everything to rest. No fence of the sender can stop it: its preconditions must."""

    lawful = False

    async def exchange(self, exchange: Exchange, forward: Forward) -> Answer | None:
        if self._freed is None:
            self._freed = asyncio.Event()
        if self.struck:
            if exchange.watch:
                return await forward()
            async with self._holding():
                return None
        if not self._strikes(exchange):
            return await forward()
        assert self._slot is not None
        self._slot.signal(self.deadly)
        async with self._holding():
            # The sender's end of the connection is about to be severed; the request is in the network all the same.
            return await asyncio.shield(forward())


class Status(Injury):
    """Request ``index`` is answered with an error and never carried out."""

    def __init__(self, index: int, code: int) -> None:
        super().__init__(index)
        self.code = code

    def _counts(self, exchange: Exchange) -> bool:
        return not exchange.by_the_clock

    async def exchange(self, exchange: Exchange, forward: Forward) -> Answer | None:
        return status(self.code) if self._strikes(exchange) else await forward()


class Cut(Injury):
    """The connection breaks before request ``index`` reaches the server."""

    def _counts(self, exchange: Exchange) -> bool:
        return not exchange.by_the_clock

    async def exchange(self, exchange: Exchange, forward: Forward) -> Answer | None:
        return None if self._strikes(exchange) else await forward()


class Lost(Injury):
    """Step ``index`` is carried out, and looks as if it had failed: the connection breaks, or an error is answered."""

    def __init__(self, index: int, code: int = 0) -> None:
        super().__init__(index)
        self.code = code

    async def exchange(self, exchange: Exchange, forward: Forward) -> Answer | None:
        strikes = self._strikes(exchange)
        answer = await forward()
        if not strikes:
            return answer
        return status(self.code) if self.code else None


class Late(Injury):
    """Request ``index`` reaches the server ``DELAY`` seconds late; those after it overtake it."""

    def _counts(self, exchange: Exchange) -> bool:
        return not exchange.by_the_clock

    async def exchange(self, exchange: Exchange, forward: Forward) -> Answer | None:
        if self._strikes(exchange):
            await asyncio.sleep(DELAY)
        return await forward()


class OldRead(Injury):
    """Read ``index`` is answered with what the same path said before the turn (or when it was first read in it)."""

    def __init__(self, index: int) -> None:
        super().__init__(index)
        self._first: dict[str, Answer] = {}

    def _counts(self, exchange: Exchange) -> bool:
        # Only a read that was made before can be answered from an older state.
        return exchange.method == "GET" and not exchange.by_the_clock and exchange.path in self._first

    async def exchange(self, exchange: Exchange, forward: Forward) -> Answer | None:
        if self._strikes(exchange):
            return self._first[exchange.path]
        answer = await forward()
        if exchange.method == "GET":
            self._first.setdefault(exchange.path, answer)
        return answer


class _Event(Injury):
    """A fault at watch event ``index``; bookmarks and the clock's kinds are not counted."""

    async def exchange(self, exchange: Exchange, forward: Forward) -> Answer | None:
        return await forward()

    def _hits(self, watch: Exchange, line: bytes) -> bool:
        if self.struck or watch.by_the_clock or b'"BOOKMARK"' in line[:40]:
            return False
        self._seen += 1
        self.struck = self._seen == self.index
        return self.struck


class Dropped(_Event):
    """The event never comes."""

    async def event(self, watch: Exchange, line: bytes) -> Sequence[bytes] | None:
        return () if self._hits(watch, line) else (line,)


class Delayed(_Event):
    """The event, and its stream with it, is late."""

    async def event(self, watch: Exchange, line: bytes) -> Sequence[bytes] | None:
        if self._hits(watch, line):
            await asyncio.sleep(DELAY)
        return (line,)


class Repeated(_Event):
    """The event comes again after ``DELAY`` seconds, when it has long been old news."""

    def __init__(self, index: int) -> None:
        super().__init__(index)
        self._line: bytes | None = None
        self._stream = ""
        self._due = 0.0

    async def event(self, watch: Exchange, line: bytes) -> Sequence[bytes] | None:
        if self._hits(watch, line):
            self._line, self._stream, self._due = line, watch.path, time.monotonic() + DELAY
            return (line,)
        if self._line is not None and watch.path == self._stream and time.monotonic() >= self._due:
            again, self._line = self._line, None
            return (line, again)
        return (line,)


class Swapped(_Event):
    """The event comes after the next one of its stream."""

    def __init__(self, index: int) -> None:
        super().__init__(index)
        self._held: tuple[str, bytes] | None = None

    async def event(self, watch: Exchange, line: bytes) -> Sequence[bytes] | None:
        if self._held is not None and self._held[0] == watch.path:
            held, self._held = self._held[1], None
            return (line, held)
        if self._hits(watch, line):
            self._held = (watch.path, line)
            return ()
        return (line,)


class Ended(_Event):
    """In place of the event the stream ends: with 410 Gone, or without a word."""

    def __init__(self, index: int, code: int = 0) -> None:
        super().__init__(index)
        self.code = code

    async def event(self, watch: Exchange, line: bytes) -> Sequence[bytes] | None:
        if not self._hits(watch, line):
            return (line,)
        return (error_line(self.code),) if self.code else None


class Frozen(Injury):
    """After step ``index`` the operator dies, and for ``THAW`` seconds of its work the next one is shown the lists of
    before the turn, and no events. What it reads one by one is true, and so is what it writes."""

    THAW = 4.0

    def __init__(self, index: int) -> None:
        super().__init__(index)
        self._old: OldLists | None = None
        self._crash = Crash(index)
        self._begun = False
        self._thaw: float | None = None

    def arm(self, rig: Rig) -> None:
        """The lists of now are kept: they are what will be shown."""
        self._old = OldLists(rig)
        self._crash.about = self.about
        self._crash.arm(rig)

    def tend(self, rig: Rig) -> bool:
        assert self._old is not None
        self.struck = self._crash.struck
        if self._crash.struck and not self._begun:
            self._old.begin(rig)
            self._begun = True
        if self._begun and self._thaw is None and "the store is full" in _log(rig.a):
            self._thaw = time.monotonic() + self.THAW
        if self._thaw is not None and time.monotonic() > self._thaw and rig.a.proxy.mute:
            self._old.thaw(rig)
        return self._thaw is not None and not rig.a.proxy.mute
