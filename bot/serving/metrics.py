"""What a bot process does, for Prometheus, and whether it is fit to serve.

No label names an asker, a place or a job. What is counted here (pastiche_bot_...) is added up over bots;
what is read from the ledger (pastiche_queue_..., pastiche_deliveries) is the same from each.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import sqlalchemy as sa
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from bot.clients import Client
from bot.messages.buttons import Press
from bot.messages.grammar import Again, Command, Compare, Continue, Generate
from bot.service.context import Context
from bot.service.dispatch_table import Events, GoOn, Response
from bot.service.request import Reply, Who
from bot.service.service import ChatService
from engine.errors import AskerError, PasticheError, SetupError
from engine.events import Cancelled, Failed, Finished, Image, Text
from engine.ledger.tables import Delivery
from engine.monitor.health import Check, Health, showing
from engine.overview import Overview
from engine.settings import Settings

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
FRESH_SECONDS = 10.0  # what is read from the ledger holds so long, however often it is asked for
OPEN = ("owed", "sending", "unsure", "lost")

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Running:
    """What serves now: clients, the debts that they are settling, when retention ran last, and whether
    a client has come since debts were looked for."""

    clients: dict[str, Client] = field(default_factory=dict)
    settling: set[str] = field(default_factory=set)
    cleaned_at: float = 0.0
    came: asyncio.Event = field(default_factory=asyncio.Event)


class Meter:
    """The instruments of one process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        counter = partial(Counter, namespace="pastiche_bot", registry=self.registry)
        gauge = partial(Gauge, namespace="pastiche", registry=self.registry)
        seconds = partial(
            Histogram, namespace="pastiche_bot", registry=self.registry, buckets=SECONDS
        )
        whose = ("platform", "medium")
        self.accepted = counter("accepted", "Requests taken.", whose)
        about = "Requests whose answer was ready, failed or cancelled."
        self.ended = counter("ended", about, (*whose, "outcome"))
        self.refused = counter("refused", "Requests not taken, by why.", ("platform", "why"))
        about = "From a request to the first thing that there is to show: that it is taken."
        self.first_sign = seconds("first_sign_seconds", about, whose)
        about = "From a request to its first words, or its first sketch."
        self.first_content = seconds("first_content_seconds", about, whose)
        about = "From a request to its whole answer."
        self.answered = seconds("answer_seconds", about, whose)
        self.in_hand = gauge("bot_in_hand", "Answers on their way to somebody.")
        self.connected = gauge("bot_connected", "Whether the platform is there.", ["platform"])
        about = "When retention last ran through, in UTC seconds; 0 for never."
        self.retention = gauge("bot_retention_timestamp_seconds", about)
        self.up = gauge("up", "Whether this check passes.", ["check"])
        self.queue = gauge("queue_jobs", "Jobs that wait or run.", ["medium", "state"])
        about = "How long the oldest unfinished job has been there."
        self.oldest = gauge("queue_oldest_seconds", about, ["medium"])
        self.rate = gauge("queue_done_per_minute", "Jobs answered a minute.", ["medium"])
        self.workers = gauge("queue_workers", "Workers by state.", ["medium", "state"])
        self.dead = gauge("queue_given_up", "Jobs dead, and failed of late.", ["state"])
        self.deliveries = gauge("deliveries", "Answers not known to have arrived.", ["state"])

    def show_queue(self, overview: Overview) -> None:
        for one in overview.media:
            self.queue.labels(one.medium, "queued").set(one.queued)
            self.queue.labels(one.medium, "running").set(one.running)
            self.oldest.labels(one.medium).set(one.oldest_seconds)
            self.rate.labels(one.medium).set(one.done_per_minute)
        self.workers.clear()
        for worker in overview.workers:
            self.workers.labels(worker.medium, worker.state).inc()
        given_up = [job.state for job in (*overview.dead, *overview.failed)]
        for state in ("dead", "failed"):
            self.dead.labels(state).set(given_up.count(state))


class MeteredService(ChatService):
    """Count what passes through a ChatService."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.meter = Meter()

    async def say(self, command: Command, who: Who) -> Response:
        medium, began = self._medium(command), time.monotonic()
        with self._refusals(who):
            reply = await super().say(command, who)
        return reply if isinstance(reply, Reply) else self._counted(reply, who, medium, began)

    async def pressed(self, press: Press, who: Who) -> Response | GoOn:
        with self._refusals(who):
            return await super().pressed(press, who)

    @contextmanager
    def _refusals(self, who: Who) -> Iterator[None]:
        try:
            yield
        except AskerError as error:
            kind = type(error).__name__.removesuffix("Error").lower()  # busy, limit, style ...
            self.meter.refused.labels(who.platform, kind).inc()
            raise

    def _medium(self, command: Command) -> str:
        match command:
            case Generate(command=name) | Compare(command=name):
                experts = self.context.registry.of_command(name)
                return experts[0].medium if experts else ""
            case Again() | Continue():
                return "again"
            case _:
                return ""

    async def _counted(self, events: Events, who: Who, medium: str, began: float) -> Events:
        signed = shown = False
        labels = (who.platform, medium)
        with self._refusals(who):
            async with aclosing(events):
                async for event in events:
                    seconds = time.monotonic() - began
                    if medium and not signed and not isinstance(event, Reply):
                        signed = True
                        self.meter.accepted.labels(*labels).inc()
                        self.meter.first_sign.labels(*labels).observe(seconds)
                    # the two answers of a /compare; a pair that came to nothing has no receipt
                    paired = isinstance(event, Reply) and event.receipt.startswith("pair:")
                    content = paired or isinstance(event, Text | Image | Finished)
                    if signed and content and not shown:
                        shown = True
                        self.meter.first_content.labels(*labels).observe(seconds)
                    if signed and isinstance(event, Finished | Failed | Cancelled | Reply):
                        replied = "finished" if paired else "failed"
                        how = replied if isinstance(event, Reply) else type(event).__name__.lower()
                        self.meter.ended.labels(*labels, how).inc()
                        self.meter.answered.labels(*labels).observe(seconds)
                    yield event


def checks_of(
    talk: ChatService, clients: Mapping[str, Client], wanted: tuple[str, ...]
) -> dict[str, Check]:
    """Check leaving, database, the pictures' store, and each platform that is to be served."""
    ledger = talk.context.services.ledger

    async def staying() -> str:
        return "it is leaving: nothing new is taken" if talk.context.lifecycle.draining else ""

    async def database() -> str:
        async with ledger.reading() as connection:
            await connection.exec_driver_sql("select 1")
        return ""

    async def media() -> str:
        await asyncio.to_thread(ledger.media.check)
        return ""

    async def platform(name: str) -> str:
        return "" if _connected(clients, name) else "not connected"

    platforms = {name: partial(platform, name) for name in wanted}
    return {"staying": staying, "database": database, "media": media, **platforms}


def _connected(clients: Mapping[str, Client], name: str) -> bool:
    return name in clients and clients[name].connected


def gathering(talk: MeteredService, health: Health) -> Callable[[], Coroutine[Any, Any, None]]:
    """Bring the gauges up to date when somebody asks for them, at most every FRESH_SECONDS.

    What cannot be read keeps its last value, and pastiche_up says so.
    """
    meter, turn, gathered = talk.meter, asyncio.Lock(), float("-inf")
    counted = sa.select(Delivery.state, sa.func.count()).where(Delivery.state.in_(OPEN))
    deliveries = counted.group_by(Delivery.state)

    async def gather() -> None:
        nonlocal gathered
        meter.in_hand.set(talk.deliveries.in_hand)
        for name, why in (await health.troubles()).items():
            meter.up.labels(name).set(not why)
        async with turn:
            if time.monotonic() - gathered < FRESH_SECONDS:
                return
            gathered = time.monotonic()
            try:
                async with asyncio.timeout(FRESH_SECONDS / 2):
                    meter.show_queue(await talk.context.engine.overview())
                    rows = await talk.context.services.ledger.rows(deliveries)
            except (PasticheError, TimeoutError) as error:
                log.warning("the queue was not counted", extra={"why": type(error).__name__})
                return
            for state in OPEN:
                count = next((count for name, count in rows if name == state), 0)
                meter.deliveries.labels(state).set(count)

    return gather


@asynccontextmanager
async def showing_bot(
    settings: Settings, talk: MeteredService, running: Running, wanted: tuple[str, ...]
) -> AsyncIterator[Health]:
    """Show what the bot does on the settings' port, if they name one."""
    meter = talk.meter
    meter.retention.set_function(lambda: running.cleaned_at)
    health = Health(checks_of(talk, running.clients, wanted))
    for name in wanted:
        meter.connected.labels(name).set_function(partial(_connected, running.clients, name))
    host, port = settings.metrics_host, settings.metrics_port or None
    async with showing(health, meter.registry, host, port, gathering(talk, health)) as shown:
        if port and not shown:
            raise SetupError(
                f"Port {port} of {host} cannot be had: another program has it, or the address is not "
                "this machine's. Set PASTICHE_METRICS_PORT or PASTICHE_METRICS_HOST."
            )
        if shown:
            log.info("metrics and health", extra={"address": f"{host}:{shown}"})
        yield health
