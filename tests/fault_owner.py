"""An owner that asks many things at once and says what was accepted and how it ended.

python tests/fault_owner.py COUNT      one JSON line an event; ends when all is answered
"""

import asyncio
import json
import sys

from following import events_of

from engine.errors import PasticheError
from engine.events import is_final
from engine.plan.job import Request
from engine.process.bootstrap import open_engine
from engine.settings import read_settings

AT_ONCE = 8


async def main(count: int) -> None:
    settings = read_settings()
    turn = asyncio.Semaphore(AT_ONCE)
    async with open_engine(settings) as engine:

        async def one(number: int) -> None:
            request = Request(
                command="story",
                text=f"The number is {number} and nothing else.",
                platform="terminal",
                asker="fault",
                place=f"place {number}",
            )
            async with turn:
                async for event in events_of(engine, request):
                    if event.kind == "queued":
                        say("accepted", event.job)
                    if is_final(event):
                        say(event.kind, event.job, getattr(event, "text", ""))

        await asyncio.gather(*(one(number) for number in range(count)))
        while (await engine.status()).waiting:  # what earlier owners left
            await asyncio.sleep(0.05)
        say("done")


def say(kind: str, job: str = "", text: str = "") -> None:
    sys.stdout.write(json.dumps([kind, job, text]) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    try:
        asyncio.run(main(int(sys.argv[1])))
    except PasticheError as error:
        sys.exit(str(error))
