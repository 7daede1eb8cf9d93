"""What comes out is looked at too: while it grows, when it is whole, and each picture."""

from collections.abc import AsyncIterator

import pytest
import sqlalchemy as sa
from looking import look

from bot.service.moderation import Moderation, Screening
from bot.service.request import Reply, Who
from engine.events import Cancelled, Event, Finished, Image, Picture, Started, Text
from engine.ledger.chat_tables import VerdictRow
from engine.ledger.ledger import Ledger, new_id
from engine.moderation import Action, Content, Stage, Verdict
from engine.moderation.chain import Chain, ImageCheck, usual
from engine.process.services import Services, open_services

pytestmark = pytest.mark.databases("sqlite", "postgres")

WHO = Who(platform="discord", asker="1", place="2")
STORY = Content(text="It rained.", command="story")
RING = Content(text="a ring", command="jewel", medium="image")
BAD = "The sixteen year old was 16 years old and naked. "


class Stopped:
    """The part of an engine that a guard uses, writing down what it is asked."""

    def __init__(self) -> None:
        self.cancelled: list[str] = []
        self.settled: list[str] = []

    async def cancel(self, job: str) -> bool:
        self.cancelled.append(job)
        return True

    async def delivered(self, job: str) -> None:
        self.settled.append(job)


@pytest.fixture
async def services(ledger: Ledger, settings) -> AsyncIterator[Services]:
    async with open_services(settings) as made:
        yield made


def written(job: str, text: str) -> Finished:
    return Finished(
        job=job, attempt=1, text=text, tokens_in=1, tokens_out=1,
        first_token_seconds=0.1, seconds=0.2,
    )  # fmt: skip


def drawn(job: str, *data: bytes) -> Finished:
    pictures = tuple(Picture(data=d, width=8, height=8, seed=1) for d in data)
    return Finished(
        job=job, attempt=1, text="", tokens_in=0, tokens_out=0,
        first_token_seconds=0.1, seconds=0.2, pictures=pictures,
    )  # fmt: skip


async def seen(guard: Moderation, content: Content, *events: Event) -> list[Event | Reply]:
    screening, shown = Screening(guard, WHO, content), list[Event | Reply]()
    for event in events:
        shown.append(await screening.shown(event))
        if isinstance(shown[-1], Reply):
            break
    return shown


async def test_a_growing_text_is_stopped_before_it_is_whole(services: Services) -> None:
    core, job = Stopped(), new_id()
    guard = Moderation(usual(), services, core)
    texts = [Text(job=job, attempt=1, text=BAD * n, tokens=n) for n in (4, 8)]
    shown = await seen(guard, STORY, Started(job=job, attempt=1), *texts, written(job, BAD * 9))
    assert [type(event) for event in shown] == [Started, Reply]
    assert "keep it back" in shown[-1].text
    assert core.cancelled == core.settled == [job]


async def test_an_attempt_that_begins_anew_is_judged_from_its_first_word(
    services: Services,
) -> None:
    job = new_id()
    texts = [
        Text(job=job, attempt=attempt, text=text, tokens=1)
        for attempt, text in ((1, "It rained. " * 200), (2, "It rained. " * 10 + BAD * 8))
    ]
    begun = [Started(job=job, attempt=attempt) for attempt in (1, 2)]
    events = (begun[0], texts[0], begun[1], texts[1])
    shown = await seen(Moderation(usual(), services, Stopped()), STORY, *events)
    assert [type(event) for event in shown] == [Started, Text, Started, Reply]


async def test_where_a_line_stays_once_shown_each_is_checked_before(services: Services) -> None:
    job = new_id()
    texts = [Text(job=job, attempt=1, text=text, tokens=1) for text in ("It rained. ", BAD)]
    shown = await seen(Moderation(usual(), services, Stopped(), growth=1), STORY, *texts)
    assert [type(event) for event in shown] == [Text, Reply]


async def test_a_stop_comes_also_where_the_end_is_the_first_that_is_seen(
    services: Services,
) -> None:
    core, job = Stopped(), new_id()
    for last in (written(job, BAD), Cancelled(job=job, attempt=1, text=BAD)):
        [said] = await seen(Moderation(usual(), services, core), STORY, last)
        assert isinstance(said, Reply)
    assert core.cancelled == []  # it had ended by itself
    assert core.settled == [job, job]


async def test_one_unfit_picture_of_four_keeps_all_back(services: Services) -> None:
    guard = Moderation(Chain(ImageCheck(lambda data: float(data == b"bad"))), services, Stopped())
    job = new_id()
    [said] = await seen(guard, RING, drawn(job, b"good", b"good", b"bad", b"good"))
    assert "did not pass the check" in said.text
    [final] = await seen(guard, RING, drawn(job, b"good", b"good"))
    assert len(final.pictures) == 2


async def test_a_preview_that_cannot_be_checked_is_not_shown(services: Services) -> None:
    def broken(_data: bytes) -> float:
        raise RuntimeError("the model is gone")

    core, job = Stopped(), new_id()
    guard = Moderation(Chain(ImageCheck(broken)), services, core)
    step = Image(job=job, attempt=1, step=1, steps=4, eta=None, preview=b"jpeg")
    [said] = await seen(guard, RING, step)
    assert isinstance(said, Reply)
    assert core.cancelled == [job]


async def test_verdicts_are_on_record_with_their_reasons(services: Services, settings) -> None:
    job = new_id()
    await seen(
        Moderation(usual(), services, Stopped()), STORY, written(job, "“Bastard!” said the duke.")
    )
    columns = (VerdictRow.job_id, VerdictRow.stage, VerdictRow.action, VerdictRow.reasons)
    async with services.ledger.reading() as connection:
        rows = (await connection.execute(sa.select(*columns))).all()
    assert rows == [(job, "output_text", "flag", '{"coarse": 1.0}')]
    assert "coarse" not in str(look(settings, "select * from verdicts"))  # sealed


async def test_a_verdict_takes_the_worst_of_its_links(services: Services) -> None:
    class Holds:
        async def check(self, stage: Stage, content: Content) -> Verdict:
            return Verdict(action=Action.HOLD, reasons={"unfit_picture": 0.7})

    guard = Moderation(Chain(Holds()), services, Stopped())
    judged = await guard.check(Stage.OUTPUT_IMAGE, RING)
    assert judged.verdict.stops
    assert judged.milliseconds >= 0
