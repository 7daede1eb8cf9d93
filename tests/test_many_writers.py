"""The ledger on a PostgreSQL server: many that write at once, and faults in the middle of it."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import postgres
import pytest
import sqlalchemy as sa
from looking import look
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.chat.places import Places
from engine.chat.quotas import Bucket
from engine.engine import LocalEngine
from engine.errors import LedgerError
from engine.events import Finished
from engine.ledger.chat_tables import SwitchRow
from engine.ledger.leases import Leases
from engine.ledger.ledger import Ledger, new_id
from engine.ledger.outbox import SENDING_SECONDS, Outbox
from engine.ledger.storage import make_ready, open_database, storage_of, upgrade
from engine.ledger.transactions import TRIES, Database, UndoneError, UnsureError, repeated
from engine.plan.cards import Registry
from engine.plan.job import Job, Request
from engine.plan.route import Route
from engine.plan.router import route
from engine.process.services import Services, open_services
from engine.queues.embedded import EmbeddedQueue
from engine.settings import Settings

pytestmark = pytest.mark.databases("postgres")
MANY = 12

Ask = Callable[[Request], tuple[Request, Route, Job]]


@pytest.fixture
def ask(registry: Registry, ledger: Ledger) -> Ask:
    """What `Ledger.accept` wants."""
    queue = EmbeddedQueue(ledger, max_waiting=9)
    engine = LocalEngine(registry, ledger, queue, max_length=1200)

    def make(request: Request) -> tuple[Request, Route, Job]:
        chosen = route("story", request.text, None, registry)
        return request, chosen, engine.plan(request, new_id()).job

    return make


@pytest.fixture
async def ledgers(settings: Settings, ledger: Ledger) -> AsyncIterator[list[Ledger]]:
    """Several, each with connections of its own, as in several processes."""
    async with AsyncExitStack() as stack:
        more = [Ledger(await open_database(settings), settings.media) for _ in range(2)]
        for one in more:
            stack.push_async_callback(one.close)
        yield [ledger, *more]


@pytest.fixture
async def desks(settings: Settings, ledger: Ledger) -> AsyncIterator[list[Services]]:
    """Likewise."""
    async with AsyncExitStack() as stack:
        purse = Bucket(burst=5, hourly=1)
        yield [
            await stack.enter_async_context(open_services(settings, asker=purse, place=purse))
            for _ in range(3)
        ]


# Many at once


async def test_an_update_that_comes_to_many_is_one_job_of_one_asker(
    ledgers: list[Ledger], ask: Ask, make_request, settings: Settings
) -> None:
    accepted = ask(make_request("It rained.", asker="new here"))
    others = [ask(make_request(f"{n} o'clock.", asker="new here")) for n in range(3)]
    said = await asyncio.gather(
        *(one.accept(*accepted) for one in ledgers * 3),
        *(one.accept(*other) for one, other in zip(ledgers, others, strict=True)),
    )
    assert sorted(said) == [False] * 8 + [True] * 4
    assert look(settings, "select count(*) from jobs") == [(4,)]
    assert look(settings, "select count(*) from askers") == [(1,)]
    assert look(settings, "select count(*) from deliveries") == [(4,)]


async def test_a_job_has_one_final_answer_whoever_says_it(
    ledgers: list[Ledger], ask: Ask, make_request, settings: Settings
) -> None:
    accepted = ask(make_request())
    await ledgers[0].accept(*accepted)
    answers = [_finished(accepted[2], f"answer {number}") for number in range(9)]
    said = await asyncio.gather(
        *(ledgers[n % 3].finish(answer) for n, answer in enumerate(answers))
    )
    assert sum(said) == 1
    final = await ledgers[0].final(accepted[2].id)
    assert isinstance(final, Finished)
    assert final.text == answers[said.index(True)].text
    assert look(settings, "select count(*) from outputs") == [(1,)]


def _finished(job: Job, text: str) -> Finished:
    return Finished(
        job=job.id, attempt=job.attempt, text=text, tokens_in=1, tokens_out=1,
        first_token_seconds=0.1, seconds=0.2,
    )  # fmt: skip


async def test_what_many_note_at_once_is_noted_once(desks: list[Services], settings) -> None:
    many = desks * 4
    seen = await asyncio.gather(*(services.seen("telegram", "7") for services in many))
    assert seen.count(False) == 1
    took = await asyncio.gather(*(d.quotas.take("discord", "1", "2", 1.0) for d in many))
    assert took.count(None) == 5  # the purse holds no more
    job = new_id()
    await asyncio.gather(*(d.feedback.rate("discord", "1", job, 1) for d in many))
    assert await desks[0].feedback.ratings(job) == [1]
    await asyncio.gather(*(d.places.switch("pause", "on") for d in many))
    assert await desks[0].places.switched() == {"pause": "on"}
    await asyncio.gather(*(d.outbox.shown("discord", job, ("1:2",)) for d in many))
    assert await desks[0].outbox.job_of("discord", "1:2") == job


async def test_somebody_is_forgotten_while_they_go_on_writing(
    ledgers: list[Ledger], desks: list[Services], ask: Ask, make_request, settings: Settings
) -> None:
    """No request is left without its asker, none refers to one that is gone, and nobody is stuck."""
    first = ask(make_request("It rained.", asker="me"))
    await ledgers[0].accept(*first)

    async def go_on(number: int) -> None:
        request = make_request(f"{number}.", asker="me", parent=first[2].request, beginning="It")
        await ledgers[number % 3].accept(*ask(request))

    await asyncio.gather(
        *(go_on(number) for number in range(MANY)),
        *(services.forget("terminal", "me") for services in desks),
    )
    await desks[0].forget("terminal", "me")
    for table in ("requests", "jobs", "deliveries", "askers"):
        assert look(settings, f"select count(*) from {table}") == [(0,)]


async def test_an_answer_goes_out_from_one_process_and_again_when_that_has_gone(
    ledger: Ledger, desks: list[Services], ask: Ask, make_request, settings: Settings
) -> None:
    accepted = ask(make_request())
    await ledger.accept(*accepted)
    job = accepted[2].id
    assert sum(await asyncio.gather(*(services.outbox.sending(job) for services in desks))) == 1
    [(sender,)] = look(settings, "select sender from deliveries")
    other = next(services for services in desks if services.outbox.sender != sender)
    assert await other.outbox.recover() == 0  # it is alive, for all we know
    assert await other.outbox.recover(gone={sender}) == 1
    assert await other.outbox.sending(job)
    [(state, sender)] = look(settings, "select state, sender from deliveries")
    assert (state, sender) == ("sending", other.outbox.sender)


async def test_what_a_silent_sender_had_in_hand_is_owed_again_and_marked(
    ledger: Ledger, ask: Ask, make_request, settings: Settings
) -> None:
    accepted = ask(make_request())
    await ledger.accept(*accepted)
    job = accepted[2].id
    later = 0.0
    async with (
        open_services(settings) as silent,
        open_services(settings, clock=lambda: time.time() + later) as other,
    ):
        assert await silent.outbox.sending(job)
        assert await other.outbox.recover() == 0
        later = SENDING_SECONDS
        assert await other.outbox.recover() == 1
        [owed] = await other.outbox.due("terminal")
        assert (owed.job, owed.unsure) == (job, True)
        assert await other.outbox.sending(job)
        assert await silent.outbox.due("terminal") == []


async def test_a_commit_is_on_disk_when_it_returns_whatever_the_servers_own_setting(
    settings: Settings,
) -> None:
    name = sa.make_url(settings.database_url).database
    with storage_of(settings).connect(writing=False) as connection:
        connection.execute(sa.text(f"alter database {name} set synchronous_commit = off"))
        connection.commit()
    said = []
    for opened, synced in ((True, True), (True, False), (False, True)):
        database = Database(await open_database(settings, synced=opened))
        async with database.writing(synced=synced) as connection:
            for word in ("synchronous_commit", "idle_in_transaction_session_timeout"):
                said.append(await connection.scalar(sa.text(f"show {word}")))
        await database.close()
    assert said == ["on", "1min", "off", "1min", "off", "1min"]


# Faults in the middle


class Cut(Database):
    """A book whose first writings are cut off by the server."""

    cuts = 0

    @repeated
    async def note(self, server: postgres.Server, database: str) -> None:
        async with self.writing() as connection:
            await connection.execute(sa.text("update meta set name = name"))
            if self.cuts:
                self.cuts -= 1
                await asyncio.to_thread(server.kick, database)
            await connection.execute(sa.text("create table noted (id int)"))


async def test_a_cut_connection_is_mended_within_the_call(
    settings: Settings, postgres_server: postgres.Server
) -> None:
    upgrade(settings)
    book = Cut(await open_database(settings))
    book.cuts = 2
    await book.note(postgres_server, str(sa.make_url(settings.database_url).database))
    assert book.cuts == 0
    assert look(settings, "select count(*) from noted") == [(0,)]
    await book.close()


CUT_AT_COMMIT = (
    "create sequence if not exists commits",
    "alter sequence commits restart",
    """create or replace function cut() returns trigger language plpgsql as $$ begin
        if nextval('commits') = 1 then perform pg_terminate_backend(pg_backend_pid()); end if;
        return null;
    end $$""",
    """create constraint trigger cut after insert on {table} deferrable initially deferred
        for each row execute function cut()""",
)


def cut_at_commit(settings: Settings, table: str) -> None:
    """The first transaction that inserts into the table is cut off while it commits."""
    with storage_of(settings).connect(writing=True) as connection:
        for statement in CUT_AT_COMMIT:
            connection.exec_driver_sql(statement.format(table=table))
        connection.commit()


async def test_a_cut_at_the_commit_is_repeated_only_where_twice_is_once(
    ledger: Ledger, desks: list[Services], ask: Ask, make_request, settings: Settings
) -> None:
    cut_at_commit(settings, "jobs")
    assert await ledger.accept(*ask(make_request()))
    assert look(settings, "select count(*) from jobs") == [(1,)]
    cut_at_commit(settings, "buckets")
    with pytest.raises(UnsureError):
        await desks[0].quotas.take("discord", "1", None, 1.0)
    assert await desks[0].quotas.take("discord", "1", None, 1.0) is None


class Refusing(Database):
    """A book that the server never lets be written."""

    asked = 0

    @asynccontextmanager
    async def writing(self, *, synced: bool = True) -> AsyncIterator[AsyncConnection]:
        self.asked += 1
        raise UndoneError("Please try again.")
        yield


@pytest.mark.parametrize(
    "change",
    [
        lambda book: Outbox(book).addressed("job", "there"),
        lambda book: Leases(book, "one").give_back(("polling",)),
        lambda book: Places(book).own("discord", "1", "2"),
    ],
    ids=["a debt", "a lease", "a place"],
)
async def test_what_the_server_refuses_is_tried_so_often_and_no_more(settings, change) -> None:
    upgrade(settings)
    book = Refusing(await open_database(settings))
    with pytest.raises(UndoneError):
        await change(book)
    assert book.asked == TRIES
    await book.close()


class Crossing(Database):
    """Two rows, changed in this order or that; the first time only when both have one."""

    tries = 0

    @repeated
    async def change(self, names: tuple[str, str], met: asyncio.Barrier) -> None:
        self.tries += 1
        async with self.writing() as connection:
            for name in names:
                await connection.execute(
                    sa.update(SwitchRow).where(SwitchRow.name == name).values(value=names[0])
                )
                if self.tries == 1 and name == names[0]:
                    await met.wait()


async def test_two_that_wait_for_each_other_both_come_through(
    desks: list[Services], settings: Settings
) -> None:
    for name in ("a", "b"):
        await desks[0].places.switch(name, "on")
    books = [Crossing(await open_database(settings)) for _ in range(2)]
    met = asyncio.Barrier(2)
    await asyncio.gather(books[0].change(("a", "b"), met), books[1].change(("b", "a"), met))
    values = await desks[0].places.switched()
    assert values in ({"a": "a", "b": "a"}, {"a": "b", "b": "b"})
    assert sorted(book.tries for book in books) == [1, 2]
    for book in books:
        await book.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="has no /dev/full to write to")
async def test_a_full_disk_is_told_and_the_answer_written_when_there_is_room(
    ledger: Ledger, ask: Ask, make_request, settings: Settings, postgres_server: postgres.Server
) -> None:
    accepted = ask(make_request())
    await ledger.accept(*accepted)
    [(where,)] = look(settings, "select pg_relation_filepath('outputs')")
    database = str(sa.make_url(settings.database_url).database)
    path = postgres_server.data / str(where)
    path.unlink()
    path.symlink_to("/dev/full")
    postgres_server.kick(database)  # so that none has the old file open
    with pytest.raises(LedgerError, match="no room left on its disk"):
        await ledger.finish(_finished(accepted[2], "So it was."))
    path.unlink()
    path.touch(0o600)
    os.chown(path, path.parent.stat().st_uid, path.parent.stat().st_gid)
    postgres_server.kick(database)
    assert await ledger.finish(_finished(accepted[2], "So it was."))
    assert await ledger.final(accepted[2].id) is not None


@pytest.mark.slow
async def test_a_server_that_goes_down_or_becomes_a_replica_is_used_again_when_it_is_back(
    tmp_path: Path, registry: Registry, make_request
) -> None:
    with postgres.running(synced=True) as server:
        settings = Settings(
            home=tmp_path / "home",
            key=SecretStr(postgres.KEY),
            database_url=server.url(server.create()),
        )
        make_ready(settings)
        ledger = Ledger(await open_database(settings), settings.media)
        made = LocalEngine(registry, ledger, EmbeddedQueue(ledger, max_waiting=9), max_length=99)
        chosen = route("story", "It rained.", None, registry)
        request = make_request("It rained.", length=20)
        jobs = [made.plan(request, new_id()).job for _ in range(3)]
        await ledger.accept(request, chosen, jobs[0])
        server.stop(signal.SIGQUIT)
        with pytest.raises(LedgerError, match="does not answer"):
            await ledger.accept(request, chosen, jobs[1])
        with pytest.raises(LedgerError, match="does not answer"):
            await ledger.final(jobs[0].id)
        server.start()
        assert not await ledger.accept(request, chosen, jobs[0])  # it was on disk
        assert await ledger.accept(request, chosen, jobs[1])

        server.stop()
        (server.data / "standby.signal").touch()
        server.start()
        with pytest.raises(LedgerError, match="is a replica and can only be read"):
            make_ready(settings)
        assert await ledger.final(jobs[0].id) is None  # reading is allowed
        with pytest.raises(LedgerError, match="can only be read now"):
            await ledger.accept(request, chosen, jobs[2])
        look_at = server.conninfo("postgres")
        with postgres.psycopg.connect(look_at, autocommit=True) as connection:
            connection.execute("select pg_promote()")
        make_ready(settings)
        assert await ledger.accept(request, chosen, jobs[2])
        await ledger.close()
