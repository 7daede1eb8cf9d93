"""A process that asks without end and says what was accepted and how it ended.

python tests/fleet_bot.py NAME AT_ONCE WORKERS     one JSON line an event, until it is killed

WORKERS: 1 starts workers of its own, 0 leaves that to others. A ledger that does not answer is asked
again for the same job. With AT_ONCE 0 it asks nothing, and ends when what others left has ended.
"""

import asyncio
import json
import sys

from following import events_of

from engine.errors import BusyError, LedgerError
from engine.events import is_final
from engine.ledger.ledger import new_id
from engine.plan.job import Request
from engine.process.bootstrap import ReconnectingEngine
from engine.settings import read_settings

PAUSE_SECONDS = 0.2


async def main(name: str, at_once: int, workers: bool) -> None:
    settings = read_settings()
    async with ReconnectingEngine(settings, workers=workers) as engine:

        async def asker(number: int) -> None:
            turn = 0
            while True:
                turn += 1
                request = Request(
                    command="story",
                    text=f"{name} {number} says {turn}.",
                    platform="terminal",
                    asker=f"{name}-{number}",
                    place="fleet",
                )
                await insist(engine, request, new_id())

        await asyncio.gather(*(asker(number) for number in range(at_once)))
        while (await engine.status()).waiting:
            await asyncio.sleep(PAUSE_SECONDS)


async def insist(engine: ReconnectingEngine, request: Request, job: str) -> None:
    """Ask for the same job until it has its answer."""
    accepted = False
    while True:
        try:
            async for event in events_of(engine, request, job):
                if not accepted:
                    say("accepted", job)
                    accepted = True
                if is_final(event):
                    say(event.kind, job, getattr(event, "text", ""))
                    return
        except (LedgerError, BusyError):
            await asyncio.sleep(PAUSE_SECONDS)


def say(kind: str, job: str, text: str = "") -> None:
    sys.stdout.write(json.dumps([kind, job, text]) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3] == "1"))
