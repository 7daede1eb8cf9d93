"""Rate limits of a growing answer: at most one edit an interval in a chat, and the end always.

A `Pace` belongs to a chat and is shared by all that is sent there; a `Coalescer` belongs to one answer
and always sends the newest value. What a platform says about its limits arrives as `TooFast`, which
holds the whole chat back, to the second; a message or chat that is no more arrives as `Vanished`.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from itertools import islice
from typing import Generic, TypeVar

from engine.shutdown import end

DISCORD_SECONDS = 1.1  # between edits in one channel
TELEGRAM_SECONDS = 1.1  # between messages and edits in one private chat
GROUP_SECONDS = 3.1  # in a Telegram group: 20 a minute
DEADLINE_SECONDS = 120.0  # a final value is tried this long, far below outbox.SENDING_SECONDS
BACKOFF_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0)  # the last one again and again
MAX_PACES = 10_000  # chats remembered

Value = TypeVar("Value")

log = logging.getLogger(__name__)


class TooFast(Exception):
    """Say that the platform takes nothing in this chat for `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the platform asks to wait {seconds:g} s")
        self.seconds = seconds


class Vanished(Exception):
    """Say that the message, the chat, or the right to write there is gone: trying again is no use."""


def why(error: Exception) -> str:
    """Name the error for a log, with its words only if they are ours: libraries quote tokens.

    >>> why(Vanished("Discord answered 404 (10008)")), why(OSError("http://host/webhooks/1/token"))
    ('Vanished: Discord answered 404 (10008)', 'OSError')
    """
    ours = isinstance(error, Vanished | TooFast)
    return f"{type(error).__name__}: {error}" if ours else type(error).__name__


def backoff(tries: int, seconds: Sequence[float] = BACKOFF_SECONDS) -> float:
    """Give the pause after that many faults in a row.

    >>> backoff(0), backoff(100)
    (0.5, 15.0)
    """
    return seconds[min(tries, len(seconds) - 1)]


class Clock:
    """Count seconds as they pass; a test has one whose seconds pass as soon as somebody sleeps."""

    def now(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Pace:
    """Give one chat's turns, first come first served, an `interval` of seconds apart."""

    def __init__(self, interval: float, clock: Clock | None = None) -> None:
        self.interval = interval
        self.clock = clock or Clock()
        self._next = float("-inf")
        self._line = asyncio.Lock()

    async def turn(self) -> None:
        async with self._line:
            while (wait := self._next - self.clock.now()) > 0:
                await self.clock.sleep(wait)
            self._next = self.clock.now() + self.interval

    def hold(self, seconds: float) -> None:
        self._next = max(self._next, self.clock.now() + seconds)

    @property
    def held(self) -> float:
        """Count the seconds until the next turn; 0 if something may be sent now."""
        return max(0.0, self._next - self.clock.now())


class Paces:
    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock
        self._paces: OrderedDict[str, Pace] = OrderedDict()

    def of(self, chat: str, interval: float) -> Pace:
        """Give the chat's own; forget chats long not heard of, never one that is held back."""
        pace = self._paces.setdefault(chat, Pace(interval, self._clock))
        self._paces.move_to_end(chat)
        if len(self._paces) > MAX_PACES:
            old = next((n for n in islice(self._paces, 100) if not self._paces[n].held), None)
            self._paces.pop(old or chat)
        return pace


class Coalescer(Generic[Value]):
    """Show one answer's growing value: show() any number of times, then finish() once.

    `send` shows a value (a first message, then edits). It raises TooFast or Vanished; anything else
    that it raises counts as a passing fault. A value that is seen already is not sent again.
    """

    def __init__(
        self,
        pace: Pace,
        send: Callable[[Value], Awaitable[None]],
        *,
        deadline: float = DEADLINE_SECONDS,
    ) -> None:
        self._pace = pace
        self._send = send
        self._newest: list[Value] = []  # none or one
        self._shown: list[Value] = []
        self._task: asyncio.Task[None] | None = None
        self._until: float | None = None  # set when the value to show is the last
        self._longest = deadline
        self._fault: Exception | None = None

    def show(self, value: Value) -> None:
        self._newest = [value]
        if self._fault is None and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._run())

    async def finish(self, value: Value, longest: float = float("inf")) -> None:
        """Show the last value within `longest` and the deadline; what is unsent before it is dropped.
        Raises Vanished, TooFast for a pause beyond them, or after them the last fault."""
        self._longest = min(longest, self._longest)
        self._until = self._pace.clock.now() + self._longest
        if self._fault is None and self._pace.held > self._longest:
            await self.cancel()
            raise TooFast(self._pace.held)
        self.show(value)
        if self._task is not None:
            await self._task
        if self._fault is not None:
            raise self._fault

    async def cancel(self) -> None:
        """Stop showing, and break off a send under way."""
        self._newest = []
        await end(self._task)

    async def _run(self) -> None:
        tries = 0
        while self._newest and self._newest != self._shown and self._fault is None:
            await self._pace.turn()
            value = self._newest.pop()
            try:
                await self._send(value)
                self._shown, tries = [value], 0
            except TooFast as error:
                self._pace.hold(error.seconds)
                if self._until is not None and error.seconds > self._longest:
                    self._fault = error
                else:
                    self._again(value, error, error.seconds)
            except Vanished as error:
                self._fault = error
            except Exception as error:  # noqa: BLE001 - a lost draft is nothing; the end is tried again
                self._shown = []  # nobody knows what is seen now
                wait = backoff(tries)
                tries += 1
                log.warning("a value was not shown", extra={"why": type(error).__name__})
                if self._until is not None and self._again(value, error, wait):
                    await self._pace.clock.sleep(wait)

    def _again(self, value: Value, error: Exception, wait: float) -> bool:
        """Put an unsent value back, unless a newer one is there; give up a last one that is late."""
        if self._until is not None and self._pace.clock.now() + wait > self._until:
            self._fault = error
            return False
        self._newest = self._newest or [value]
        return True
