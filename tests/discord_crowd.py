"""A crowd on the loopback Discord: a full queue, and how it feels to ask then."""

import asyncio
import time

from discord_people import People
from discord_world import BOB, ELSEWHERE, UNANSWERED, Interaction

STEP = 25  # commands at once; people do not press in one instant
LONG = "::slow:: " + " ".join(f"w{n}" for n in range(60))


async def queue_up(people: People, jobs: int) -> list[Interaction]:
    """So many slow jobs of as many people, all accepted."""
    made: list[Interaction] = []
    for start in range(0, jobs, STEP):
        some = range(start, min(jobs, start + STEP))
        step = [await people.slash("story", text=LONG, by=str(5 * 10**18 + n)) for n in some]
        await people.discord.wait(lambda these=step: all(map(_told, these)), 120)
        made += step
    return made


def _told(made: Interaction) -> bool:
    """Whether it was accepted: only then is a place in the queue told."""
    return made.response is not None and made.response.content != ""


async def acknowledgements(people: People, count: int, by: str = BOB) -> list[float]:
    """Seconds until Discord heard back, of commands given one after another; UNANSWERED for never."""
    seconds = []
    for number in range(count):
        made = await people.slash("styles" if number % 2 else "queue", by=by, at=ELSEWHERE)
        until = time.monotonic() + UNANSWERED
        while made.ack_seconds is None and time.monotonic() < until:
            await asyncio.sleep(0.002)
        seconds.append(made.ack_seconds or UNANSWERED)
        await asyncio.sleep(0.05)
    return seconds
