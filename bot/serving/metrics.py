"""What a bot process does, for Prometheus, and whether it is fit to serve.

No label names an asker, a place or a job. What is counted here (pastiche_bot_...) is this process's
own: add it up over bots. What is read from the ledger (pastiche_queue_..., pastiche_deliveries) is the
same from each: take the greatest.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Protocol

import sqlalchemy as sa
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from bot.clients.client import Client
from bot.messages.buttons import Press
from bot.messages.grammar import Again, Command, Compare, Continue, Generate
from bot.service.context import Context
from bot.service.dispatch_table import Events, GoOn, Response
from bot.service.request import Reply, Who
from bot.service.service import ChatService
from engine.errors import AskerError, PasticheError, SetupError
from engine.events import Cancelled, Event, Failed, Finished, Image, Text
from engine.ledger.ledger import Ledger
from engine.ledger.tables import Delivery
from engine.monitor.health import Check, Health, showing
from engine.overview import Overview
from engine.settings import Settings

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
FRESH_SECONDS = 10.0  # what is read from the ledger holds so long, however often it is asked for
OPEN = ("owed", "sending", "unsure", "lost")

log = logging.getLogger(__name__)


class Meter:
    """The instruments of one process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        r = self.registry
        self.accepted = Counter(
            "pastiche_bot_accepted", "Requests taken.", ("platform", "medium"), registry=r
        )
        self.ended = Counter(
            "pastiche_bot_ended",
            "Requests whose answer was ready, failed or cancelled.",
            ("platform", "medium", "outcome"),
            registry=r,
        )
        self.refused = Counter(
            "pastiche_bot_refused", "Requests not taken, by why.", ("platform", "why"), registry=r
        )
        self.first_sign = Histogram(
            "pastiche_bot_first_sign_seconds",
            "From a request to the first thing that there is to show: that it is taken.",
            ("platform", "medium"),
            buckets=SECONDS,
            registry=r,
        )
        self.first_content = Histogram(
            "pastiche_bot_first_content_seconds",
            "From a request to its first words, or its first sketch.",
            ("platform", "medium"),
            buckets=SECONDS,
            registry=r,
        )
        self.answered = Histogram(
            "pastiche_bot_answer_seconds",
            "From a request to its whole answer.",
            ("platform", "medium"),
            buckets=SECONDS,
            registry=r,
        )
        self.in_hand = Gauge(
            "pastiche_bot_in_hand", "Answers on their way to somebody.", registry=r
        )
        self.connected = Gauge(
            "pastiche_bot_connected", "Whether the platform is there.", ("platform",), registry=r
        )
        self.retention = Gauge(
            "pastiche_bot_retention_timestamp_seconds",
            "When retention last ran through, in UTC seconds; 0 for never.",
            registry=r,
        )
        self.up = Gauge("pastiche_up", "Whether this check passes.", ("check",), registry=r)
        self.queue = Gauge(
            "pastiche_queue_jobs", "Jobs that wait or run.", ("medium", "state"), registry=r
        )
        self.oldest = Gauge(
            "pastiche_queue_oldest_seconds",
            "How long the oldest unfinished job has been there.",
            ("medium",),
            registry=r,
        )
        self.rate = Gauge(
            "pastiche_queue_done_per_minute", "Jobs answered a minute.", ("medium",), registry=r
        )
        self.workers = Gauge(
            "pastiche_queue_workers", "Workers by state.", ("medium", "state"), registry=r
        )
        self.dead = Gauge(
            "pastiche_queue_given_up", "Jobs dead, and failed of late.", ("state",), registry=r
        )
        self.deliveries = Gauge(
            "pastiche_deliveries", "Answers not known to have arrived.", ("state",), registry=r
        )

    def show_queue(self, overview: Overview) -> None:
        """What the queue's overview says, in numbers."""
        for one in overview.media:
            self.queue.labels(one.medium, "queued").set(one.queued)
            self.queue.labels(one.medium, "running").set(one.running)
            self.oldest.labels(one.medium).set(one.oldest_seconds)
            self.rate.labels(one.medium).set(one.done_per_minute)
        self.workers.clear()
        for worker in overview.workers:
            self.workers.labels(worker.medium, worker.state).inc()
        for state in ("dead", "failed"):
            self.dead.labels(state).set(
                sum(job.state == state for job in (*overview.dead, *overview.failed))
            )


class MeteredTalk(ChatService):
    """ChatService, with what passes through it counted."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.meter = Meter()

    async def say(self, command: Command, who: Who) -> Response:
        """See ChatService."""
        medium, began = self._medium(command), time.monotonic()
        try:
            reply = await super().say(command, who)
        except AskerError as error:
            self.meter.refused.labels(who.platform, _why(error)).inc()
            raise
        return reply if isinstance(reply, Reply) else self._counted(reply, who, medium, began)

    async def pressed(self, press: Press, who: Who) -> Response | GoOn:
        """See ChatService."""
        try:
            return await super().pressed(press, who)
        except AskerError as error:
            self.meter.refused.labels(who.platform, _why(error)).inc()
            raise

    def _medium(self, command: Command) -> str:
        """What the command's experts make, "" for a command that makes nothing."""
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
        try:
            async with aclosing(events):
                async for event in events:
                    seconds = time.monotonic() - began
                    if medium and not signed and not isinstance(event, Reply):
                        signed = True
                        self.meter.accepted.labels(*labels).inc()
                        self.meter.first_sign.labels(*labels).observe(seconds)
                    if signed and not shown and _has_content(event):
                        shown = True
                        self.meter.first_content.labels(*labels).observe(seconds)
                    if signed and isinstance(event, Finished | Failed | Cancelled | Reply):
                        self.meter.ended.labels(*labels, _outcome(event)).inc()
                        self.meter.answered.labels(*labels).observe(seconds)
                    yield event
        except AskerError as error:
            self.meter.refused.labels(who.platform, _why(error)).inc()
            raise


def _has_content(event: Event | Reply) -> bool:
    return isinstance(event, Text | Image | Finished) or (
        isinstance(event, Reply) and _paired(event)
    )


def _paired(said: Reply) -> bool:
    """Whether it is the two answers of a /compare; a pair that came to nothing has no receipt."""
    return said.receipt.startswith("pair:")


def _outcome(event: Event | Reply) -> str:
    if isinstance(event, Reply):
        return "finished" if _paired(event) else "failed"
    return type(event).__name__.lower()


def _why(error: AskerError) -> str:
    """The kind of a refusal: busy, command, limit, refused, style, asker.

    >>> from engine.errors import BusyError
    >>> _why(BusyError("..."))
    'busy'
    """
    return type(error).__name__.removesuffix("Error").lower()


def checks_of(
    talk: ChatService, ledger: Ledger, clients: Mapping[str, Client], wanted: tuple[str, ...]
) -> dict[str, Check]:
    """Leaving, database, pictures' store, and each platform that is to be served."""

    async def staying() -> str:
        return "it is leaving: nothing new is taken" if talk.context.lifecycle.draining else ""

    async def database() -> str:
        async with ledger.reading() as connection:
            await connection.exec_driver_sql("select 1")
        return ""

    async def media() -> str:
        await asyncio.to_thread(ledger.media.check)
        return ""

    def platform(name: str) -> Check:
        async def check() -> str:
            client = clients.get(name)
            return "" if client is not None and client.connected else "not connected"

        return check

    return {"staying": staying, "database": database, "media": media} | {
        name: platform(name) for name in wanted
    }


class Gathering:
    """Brings the gauges up to date when somebody asks for them, at most every FRESH_SECONDS."""

    def __init__(self, meter: Meter, talk: ChatService, ledger: Ledger, health: Health) -> None:
        self._meter = meter
        self._talk = talk
        self._ledger = ledger
        self._health = health
        self._at = float("-inf")
        self._turn = asyncio.Lock()

    async def __call__(self) -> None:
        """Never raises: what cannot be read keeps its last value, and pastiche_up says so."""
        self._meter.in_hand.set(self._talk.deliveries.in_hand)
        for name, why in (await self._health.troubles()).items():
            self._meter.up.labels(name).set(not why)
        async with self._turn:
            if time.monotonic() - self._at < FRESH_SECONDS:
                return
            self._at = time.monotonic()
            try:
                async with asyncio.timeout(FRESH_SECONDS / 2):
                    self._meter.show_queue(await self._talk.context.engine.overview())
                    await self._deliveries()
            except (PasticheError, TimeoutError) as error:
                log.warning("the queue was not counted", extra={"why": type(error).__name__})

    async def _deliveries(self) -> None:
        query = sa.select(Delivery.state, sa.func.count()).where(Delivery.state.in_(OPEN))
        async with self._ledger.reading() as connection:
            rows = (await connection.execute(query.group_by(Delivery.state))).all()
        counts: dict[str, int] = dict.fromkeys(OPEN, 0) | {row[0]: row[1] for row in rows}
        for state, count in counts.items():
            self._meter.deliveries.labels(state).set(count)


class Serving(Protocol):
    """What serve knows of itself."""

    clients: dict[str, Client]
    cleaned_at: float


@asynccontextmanager
async def showing_bot(
    settings: Settings,
    talk: MeteredTalk,
    running: Serving,
    wanted: tuple[str, ...],
) -> AsyncIterator[Health]:
    """Show what the bot does on the settings' port, if they name one."""
    ledger, clients = talk.context.desk.ledger, running.clients
    talk.meter.retention.set_function(lambda: running.cleaned_at)
    health = Health(checks_of(talk, ledger, clients, wanted))
    for name in wanted:
        talk.meter.connected.labels(name).set_function(_there(clients, name))
    gathering = Gathering(talk.meter, talk, ledger, health)
    port = settings.metrics_port or None
    async with showing(health, talk.meter.registry, settings.metrics_host, port, gathering) as port:
        if settings.metrics_port and not port:
            raise SetupError(
                f"Another program listens on port {settings.metrics_port} already, and would be read "
                "as this bot. Choose another with PASTICHE_METRICS_PORT."
            )
        if port:
            log.info("metrics and health", extra={"address": f"{settings.metrics_host}:{port}"})
        yield health


def _there(clients: Mapping[str, Client], name: str) -> Callable[[], float]:
    def there() -> float:
        client = clients.get(name)
        return float(client is not None and client.connected)

    return there
