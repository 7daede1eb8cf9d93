"""How many workers so many askers need: a simulation of the busiest hour, and counts beside it.

Texts share a worker: `n` running at once are written at `speed(n)` tokens a second together. Pictures
take a worker each. Arrivals are Poisson at the peak hour's rate; whoever comes first is served first.
Service times are measured here or cited; each says which.
"""

import heapq
import itertools
import math
import random
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass, field

import simpy

HOUR = 3600.0
DAY = 24 * HOUR


@dataclass(frozen=True, slots=True, kw_only=True)
class Writer:
    """A worker for texts. `points`: (texts at once, tokens a second of all together), rising."""

    name: str
    points: tuple[tuple[int, float], ...]
    hourly: float
    source: str

    @property
    def slots(self) -> int:
        """Texts at once."""
        return self.points[-1][0]

    def speed(self, running: int) -> float:
        """Tokens a second of `running` texts together; between two points on a line."""
        at = bisect_left(self.points, (running, -math.inf))
        if at == 0 or self.points[at][0] == running:
            return self.points[at][1] * (running / self.points[at][0] if at == 0 else 1.0)
        (n0, s0), (n1, s1) = self.points[at - 1], self.points[at]
        return s0 + (s1 - s0) * (running - n0) / (n1 - n0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Painter:
    """A worker for pictures: one at a time, `seconds` each."""

    name: str
    seconds: float
    hourly: float
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Who asks: requests a day, the share of pictures, and how long texts are (lognormal)."""

    a_day: float
    pictures: float = 0.2
    tokens: float = 250.0  # mean of an answer
    spread: float = 0.5  # sigma of its logarithm
    peak: float = 0.075  # the busiest hour's share of the day; even would be 0.042

    @property
    def rate(self) -> float:
        """Requests a second in the busiest hour."""
        return self.a_day * self.peak / HOUR


@dataclass(slots=True)
class Waits:
    """Seconds from accepted to started, and to finished."""

    queue: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)


class Writers:
    """Several writers on one line; a newcomer goes to the one with the fewest texts."""

    def __init__(self, env: simpy.Environment, writer: Writer, count: int) -> None:
        self._env = env
        self._line: deque[tuple[float, simpy.Event, simpy.Event]] = deque()
        self._desks = [_Desk(env, writer, self._free) for _ in range(count)]

    def write(self, tokens: float) -> tuple[simpy.Event, simpy.Event]:
        """(started, finished) of a text of so many tokens."""
        text = (tokens, self._env.event(), self._env.event())
        self._line.append(text)
        self._free()
        return text[1], text[2]

    def _free(self) -> None:
        while self._line:
            services = min(self._desks, key=lambda services: services.running)
            if services.full:
                return
            tokens, started, finished = self._line.popleft()
            started.succeed()
            services.take(tokens, finished)


class _Desk:
    """One writer, its texts sharing its speed. Time is counted in tokens that each text has got."""

    def __init__(self, env: simpy.Environment, writer: Writer, free: Callable[[], None]) -> None:
        self._env, self._writer, self._free = env, writer, free
        self._heap: list[tuple[float, int, simpy.Event]] = []
        self._number = itertools.count()
        self._got = 0.0
        self._at = 0.0
        self._version = 0

    @property
    def running(self) -> int:
        return len(self._heap)

    @property
    def full(self) -> bool:
        return self.running >= self._writer.slots

    def take(self, tokens: float, finished: simpy.Event) -> None:
        self._advance()
        heapq.heappush(self._heap, (self._got + tokens, next(self._number), finished))
        self._plan()

    def _each(self) -> float:
        return self._writer.speed(self.running) / self.running

    def _advance(self) -> None:
        if self._heap:
            self._got += self._each() * (self._env.now - self._at)
        self._at = self._env.now

    def _plan(self) -> None:
        """Wake up when the next text ends, unless somebody joins before."""
        self._version += 1
        if self._heap:
            wait = max(0.0, (self._heap[0][0] - self._got) / self._each())
            self._env.process(self._wake(wait, self._version))

    def _wake(self, wait: float, version: int) -> Generator[simpy.Event, None, None]:
        yield self._env.timeout(wait)
        if version != self._version:
            return
        self._advance()
        self._got = self._heap[0][0]  # the clock's rounding must not leave it a hair unfinished
        heapq.heappop(self._heap)[2].succeed()
        self._plan()
        self._free()


def simulate_texts(
    load: Load, writer: Writer, count: int, *, requests: int, seed: int = 0
) -> Waits:
    """The waits of so many texts in the busiest hour."""
    env = simpy.Environment()
    writers = Writers(env, writer, count)
    waits, chance = Waits(), random.Random(seed)
    mean = math.log(load.tokens) - load.spread**2 / 2

    def text() -> Generator[simpy.Event, None, None]:
        came = env.now
        started, finished = writers.write(max(1.0, chance.lognormvariate(mean, load.spread)))
        yield started
        waits.queue.append(env.now - came)
        yield finished
        waits.whole.append(env.now - came)

    rate = load.rate * (1 - load.pictures)
    env.process(_arrive(env, rate, requests, text, chance))
    env.run()
    return waits


def simulate_pictures(
    load: Load, painter: Painter, count: int, *, requests: int, seed: int = 0
) -> Waits:
    """The waits of so many pictures in the busiest hour."""
    env = simpy.Environment()
    painters = simpy.Resource(env, capacity=count)
    waits, chance = Waits(), random.Random(seed)

    def picture() -> Generator[simpy.Event, None, None]:
        came = env.now
        with painters.request() as turn:
            yield turn
            waits.queue.append(env.now - came)
            yield env.timeout(painter.seconds)
            waits.whole.append(env.now - came)

    env.process(_arrive(env, load.rate * load.pictures, requests, picture, chance))
    env.run()
    return waits


def _arrive(
    env: simpy.Environment,
    rate: float,
    requests: int,
    one: Callable[[], Generator[simpy.Event, None, None]],
    chance: random.Random,
) -> Generator[simpy.Event, None, None]:
    for _ in range(requests):
        yield env.timeout(chance.expovariate(rate))
        env.process(one())


def fewest(first: int, enough: Callable[[int], bool]) -> int:
    """The smallest count from `first` on for which `enough(count)`; steps grow with the count."""
    low, high = first - 1, first
    while not enough(high):
        low, high = high, high + max(1, high // 4)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def erlang_c(rate: float, seconds: float, count: int) -> float:
    """The share of arrivals that must wait in M/M/c (Erlang's formula): what the tests hold the
    simulation to."""
    offered = rate * seconds
    if offered >= count:
        return 1.0
    inverse = 1.0
    for n in range(1, count + 1):
        inverse = 1.0 + inverse * n / offered
    blocking = 1.0 / inverse
    return blocking / (1 - (offered / count) * (1 - blocking))
