"""Writes after acceptance: in order for each job, and insisted on."""

import asyncio

from engine.errors import MediaError
from engine.queues.ledger_writer import OrderedWriter


async def test_a_picture_that_cannot_be_kept_keeps_no_other_job_waiting() -> None:
    done: list[str] = []
    back = asyncio.Event()
    writer = OrderedWriter()

    async def picture() -> None:
        if not back.is_set():
            back.set()
            raise MediaError("the store is away")
        done.append("picture")

    async def note(what: str) -> None:
        done.append(what)

    writer.put(picture, "drawn")
    writer.put(lambda: note("after the picture"), "drawn")
    writer.put(lambda: note("text"), "written")
    await back.wait()
    await writer.close()
    assert done == ["text", "picture", "after the picture"]


async def test_a_write_that_breaks_leaves_the_next_of_its_job() -> None:
    done: list[int] = []
    writer = OrderedWriter()

    async def broken() -> None:
        raise RuntimeError("a bug")

    async def note(number: int) -> None:
        done.append(number)

    writer.put(broken, "a")
    for number in range(20):
        writer.put(lambda number=number: note(number), "a")
    await writer.close()
    assert done == list(range(20))
