"""`pastiche serve`: every client whose token is set, on one engine, until SIGTERM.

A client that cannot start says so while the others go on; one that breaks down is started again. Debts
of answers, from before a crash or after a platform's long pause, are settled here.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pkgutil import resolve_name
from typing import TypeVar

from bot.chat import make_context
from bot.clients import Client
from bot.service.service import ChatService
from bot.serving.metrics import MeteredService, Running, showing_bot
from bot.settings import PlatformSettings
from bot.study.study_hooks import load_handlers
from engine.errors import PasticheError, SetupError
from engine.ledger.outbox import Debt
from engine.ledger.storage import database_url
from engine.lock import owners_pid, take_lock
from engine.moderation.chain import usual
from engine.process.bootstrap import ReconnectingEngine
from engine.process.services import services_on
from engine.settings import Settings
from engine.shutdown import Signals, end, end_others, pause, wanted, within

SERVING = "serving.lock"
DEBT_SECONDS = 15.0  # between two looks for debts
CLEAN_SECONDS = 3600.0
DEBTS_AT_ONCE = 8
LEAVE_SECONDS = 20.0  # a client has this long for its drain()
REST_SECONDS = 3.0  # for all that is to be done after that
LET_GO_SECONDS = 0.7  # for the word that another bot may send what is owed
STEADY_SECONDS = 600.0  # a client that has served so long was well: its next fault is its first
AGAIN_SECONDS = (1.0, 5.0, 15.0, 60.0)  # before a client that broke down is started again

CLIENTS = {  # each imported only where it is served
    "discord": "bot.discord_client.client:DiscordClient",
    "telegram": "bot.telegram_client.client:TelegramClient",
}

Make = Callable[[ChatService, PlatformSettings], Client]

Result = TypeVar("Result")

log = logging.getLogger(__name__)


def makers(platforms: PlatformSettings, *, discord: bool, telegram: bool) -> dict[str, Make]:
    """Choose the clients to run: those asked for, or all whose token is set. Raises SetupError."""
    asked = {"discord": discord, "telegram": telegram}
    tokens = {name: getattr(platforms, f"{name}_token") for name in asked}
    wanted = [name for name in asked if asked[name]] or [name for name in asked if tokens[name]]
    missing = [name for name in wanted if tokens[name] is None]
    if missing or not wanted:
        names = " and ".join(f"{n.upper()}_TOKEN" for n in missing)
        raise SetupError(
            f"Set {names or 'DISCORD_TOKEN or TELEGRAM_TOKEN'} to the token that the platform gave "
            "you; docs/discord.md and docs/telegram.md say step by step where to get one."
        )
    return {name: resolve_name(CLIENTS[name]) for name in wanted}


async def serve(
    settings: Settings, platforms: PlatformSettings, made: dict[str, Make], *, workers: bool = True
) -> int:
    """Serve until SIGTERM or SIGINT: 0; 1 when no client is left."""
    load_handlers()
    running, before = Running(), asyncio.all_tasks()
    with Signals(platforms.drain_seconds + LEAVE_SECONDS) as signals:
        async with (
            _alone(settings),
            ReconnectingEngine(settings, warm=("text",), workers=workers) as core,
            core.ledger() as ledger,
            services_on(
                ledger, settings, platforms.asker_bucket, platforms.place_bucket
            ) as services,
        ):
            talk = MeteredService(
                make_context(core, services, usual(platforms.image_check), platforms)
            )
            unsure = await services.outbox.recover()
            log.info("serving", extra={"clients": ", ".join(made), "unsure": unsure})
            async with showing_bot(settings, talk, running, tuple(made)):
                code = await attend(talk, platforms, made, running, signals)
    if code:
        log.info("no client is left")
    elif await end_others(before):
        log.info("stopped")
    return code


@contextlib.asynccontextmanager
async def _alone(settings: Settings) -> AsyncIterator[None]:
    """Allow one serving process on a data folder of its own. Raises SetupError."""
    if database_url(settings).get_backend_name() != "sqlite":
        yield
        return
    lock = take_lock(settings.home, settings.socket, SERVING)
    if lock is None:
        pid = owners_pid(settings.home, SERVING)
        raise SetupError(
            f"A bot is serving from {settings.home} already: process {pid}. Stop it first, or "
            "give this one a data folder of its own with PASTICHE_HOME. (Several bots can share a "
            "ledger on PostgreSQL: docs/operations.md)"
        )
    with lock:
        yield


async def attend(
    talk: ChatService,
    platforms: PlatformSettings,
    made: dict[str, Make],
    running: Running | None = None,
    signals: Signals | None = None,
) -> int:
    """Run the clients until /admin drain or a signal, or until none is left."""
    stop, running = asyncio.Event(), running or Running()
    talk.context.lifecycle.stop = stop.set
    with contextlib.ExitStack() as stack:
        signals = signals or stack.enter_context(Signals(platforms.drain_seconds + LEAVE_SECONDS))
        signals.call(stop.set)
        chores = [asyncio.create_task(c(talk, running), name=c.__name__) for c in (_clean, _settle)]
        clients = [
            asyncio.create_task(_keep(name, make, talk, platforms, running), name=name)
            for name, make in made.items()
        ]
        gone, told = asyncio.create_task(asyncio.wait(clients)), asyncio.create_task(stop.wait())
        try:
            await asyncio.wait((gone, told), return_when=asyncio.FIRST_COMPLETED)
            if not stop.is_set():
                return 1
            await _drain(talk, running, platforms.drain_seconds)
            signals.hurry(REST_SECONDS)
            return 0
        finally:
            await end(gone, told, *chores, *clients)


async def _keep(
    name: str, make: Make, talk: ChatService, platforms: PlatformSettings, running: Running
) -> None:
    """Run one client; start it again when it breaks down, unless it can never succeed."""
    tries, began = 0, time.monotonic()
    while wanted():
        try:
            client = make(talk, platforms)
            running.clients[name] = client
            running.came.set()
            began = time.monotonic()
            await client.run()
            return
        except SetupError as error:
            log.error("%s cannot be served: %s", name, error)
            return
        except Exception:
            steady = time.monotonic() - began >= STEADY_SECONDS  # begins a new row of tries
            tries = 1 if steady else tries + 1
            wait = AGAIN_SECONDS[min(tries, len(AGAIN_SECONDS)) - 1]
            log.exception("%s broke down, starting again", name, extra={"in_seconds": wait})
            running.clients.pop(name, None)
            await asyncio.sleep(wait)
        finally:
            if not talk.context.lifecycle.draining:
                running.clients.pop(name, None)


async def _drain(talk: ChatService, running: Running, seconds: float) -> None:
    """Take nothing new, let what runs finish for so long, then let the clients say good-bye."""
    talk.context.lifecycle.draining = True
    log.info("draining", extra={"under_way": talk.deliveries.under_way})
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while talk.deliveries.under_way or running.settling:
                await asyncio.sleep(0.05)
    await asyncio.gather(*(_leave(client) for client in running.clients.values()))
    let_go = within(LET_GO_SECONDS, talk.context.services.outbox.let_go())
    await _logged(let_go, "the debts in hand could not be let go; they are free in a minute")


async def _leave(client: Client) -> None:
    try:
        await within(LEAVE_SECONDS, client.drain())
    except Exception:
        log.exception("%s did not leave in order", client.name)


async def _logged(work: Awaitable[Result], failed: str) -> Result | None:
    """Await it; log that it `failed`, and go on, where the ledger does not answer."""
    try:
        return await work
    except (PasticheError, TimeoutError):
        log.exception(failed)
        return None


async def _settle(talk: ChatService, running: Running) -> None:
    """Look for debts again and again; each is in its client's hands once."""
    gate = asyncio.Semaphore(DEBTS_AT_ONCE)
    outbox = talk.context.services.outbox
    async with asyncio.TaskGroup() as group:
        while wanted():
            await _logged(_hold(talk, running), "the debts in hand could not be kept")
            for client in list(running.clients.values()):
                if talk.context.lifecycle.draining:
                    break
                owed = _logged(talk.deliveries.debts(client.name), "the debts cannot be read")
                for debt in await owed or ():
                    if debt.job in running.settling:
                        continue
                    if await _logged(outbox.claim(debt.job), "a debt could not be claimed"):
                        running.settling.add(debt.job)
                        group.create_task(_deliver(client, debt, running, gate))
            # a client that has just come has people who have waited already
            await pause(running.came, DEBT_SECONDS)
            running.came.clear()


async def _hold(talk: ChatService, running: Running) -> None:
    """Renew our hold on what we send or shall; take over what a bot that has gone was sending."""
    await talk.deliveries.keep_hold(running.settling)
    if talk.context.services.outbox.shared:
        await talk.context.services.outbox.recover()


async def _deliver(client: Client, debt: Debt, running: Running, gate: asyncio.Semaphore) -> None:
    try:
        async with gate:
            await client.deliver(debt)
    except Exception:
        log.exception("a debt was not settled", extra={"job": debt.job})
    finally:
        running.settling.discard(debt.job)


async def _clean(talk: ChatService, running: Running) -> None:
    services = talk.context.services
    while wanted():
        try:
            for job in await services.retention.overdue():
                await talk.context.engine.cancel(job)
            done = await services.retention.clean()
            running.cleaned_at = time.time()
            log.info("cleaned", extra={name: done[name] for name in ("blanked", "pictures")})
        except Exception:
            log.exception("retention failed")
        await asyncio.sleep(CLEAN_SECONDS)
