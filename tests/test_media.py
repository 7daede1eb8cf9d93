"""Where pictures lie: a sealed folder, also one that several machines share and that may be away."""

import threading
import time

import ledgers
import pytest

from engine.backends.echo import EchoBackend
from engine.errors import LedgerError, MediaError
from engine.ledger.ledger import Ledger
from engine.ledger.picture_cleanup import SAFE_SECONDS, discard
from engine.ledger.storage import open_database, upgrade
from engine.media.store import PictureStore, name_of
from engine.process.bootstrap import open_engine
from engine.vault import Vault

VAULT = Vault(b"k" * 32)


@pytest.fixture
def store(tmp_path) -> PictureStore:
    return PictureStore(tmp_path / "media", VAULT)


def test_a_picture_is_kept_once_sealed_and_found_again(store: PictureStore) -> None:
    store.check()
    assert store.put(b"a picture") == store.put(b"a picture") == name_of(b"a picture")
    assert store.names() == [name_of(b"a picture")]
    assert store.get(name_of(b"a picture")) == b"a picture"
    assert store.get(name_of(b"another")) is None
    store.delete(name_of(b"a picture"))
    store.delete(name_of(b"a picture"))
    assert store.get(name_of(b"a picture")) is None
    store.check()
    assert store.names() == []


def test_what_was_just_put_is_not_old(store: PictureStore) -> None:
    name = store.put(b"a picture")
    assert store.names(older=SAFE_SECONDS) == []
    assert store.names() == [name]


def test_bytes_are_sealed_and_open_only_with_their_key(store: PictureStore, tmp_path) -> None:
    name = store.put(b"\x89PNG canary")
    assert b"canary" not in (tmp_path / "media" / name[:2] / name).read_bytes()
    with pytest.raises(LedgerError):
        PictureStore(tmp_path / "media", Vault(b"q" * 32)).get(name)


def test_a_folder_that_is_away_is_told_without_its_pictures_names(tmp_path) -> None:
    away = _away(tmp_path)
    for call in (lambda: away.put(b"x"), lambda: away.get(name_of(b"x")), away.check):
        with pytest.raises(MediaError) as told:
            call()
        assert name_of(b"x") not in str(told.value)


@pytest.mark.parametrize("shared", [True, False])
async def test_a_start_deletes_no_picture_in_a_folder_that_others_may_share(
    settings, tmp_path, shared: bool
) -> None:
    """Some command without the fleet's database address has a ledger of its own, and names none."""
    if shared:
        settings = settings.model_copy(update={"media_folder": tmp_path / "shared"})
    upgrade(settings)
    theirs = PictureStore(settings.media, VAULT)
    name = theirs.put(b"a picture of the fleet")
    async with open_engine(settings):
        pass
    assert theirs.names() == ([name] if shared else [])


@pytest.fixture
async def shared_ledger(settings, tmp_path):
    settings = settings.model_copy(update={"media_folder": tmp_path / "shared"})
    ledgers.ready(settings)
    ledger = Ledger(await open_database(settings), settings.media)
    yield ledger
    await ledger.close()


async def drawn(ledger: Ledger, registry, make_request):
    """An accepted picture job and its final event."""
    from engine.engine import LocalEngine
    from engine.ledger.ledger import new_id
    from engine.plan.router import route
    from engine.queues.embedded import EmbeddedQueue

    queue = EmbeddedQueue(ledger, max_waiting=9)
    engine = LocalEngine(registry, ledger, queue, max_length=1200)
    request = make_request("a gold ring", command="jewel", seed=time.monotonic_ns() % 2**31)
    chosen = route("jewel", request.text, None, registry)
    job = engine.plan(request, new_id()).job
    await ledger.accept(request, chosen, job)
    return [event async for event in EchoBackend().generate(job, threading.Event())][-1]


async def test_an_answer_waits_on_record_while_the_store_is_away(
    shared_ledger, registry, make_request, tmp_path
) -> None:
    final = await drawn(shared_ledger, registry, make_request)
    here, shared_ledger.media = shared_ledger.media, _away(tmp_path)
    with pytest.raises(LedgerError):
        await shared_ledger.finish(final)
    assert await shared_ledger.final(final.job) is None  # nothing is lost, nothing half written
    shared_ledger.media = here
    assert await shared_ledger.finish(final)
    assert (await shared_ledger.final(final.job)).pictures == final.pictures


async def test_what_a_store_does_not_let_go_of_goes_when_it_is_back(
    shared_ledger, registry, make_request, tmp_path
) -> None:
    final = await drawn(shared_ledger, registry, make_request)
    await shared_ledger.finish(final)
    names = shared_ledger.media.names()
    async with shared_ledger.writing() as connection:
        await connection.exec_driver_sql("delete from pictures")
        await discard(connection, names, 0.0)
    here, shared_ledger.media = shared_ledger.media, _away(tmp_path)
    assert await shared_ledger.throw_away() == 0
    shared_ledger.media = here
    assert here.names() == names
    assert await shared_ledger.throw_away() == len(names)
    assert here.names() == []
    assert await shared_ledger.throw_away() == 0


async def test_a_sweep_spares_what_is_new_or_spoken_of(
    shared_ledger, registry, make_request
) -> None:
    final = await drawn(shared_ledger, registry, make_request)
    await shared_ledger.finish(final)
    kept = shared_ledger.media.names()
    lost = shared_ledger.media.put(b"left by a kill between picture and commit")
    assert await shared_ledger.sweep(SAFE_SECONDS) == 0
    assert lost in shared_ledger.media.names()
    assert await shared_ledger.sweep() == 1
    assert shared_ledger.media.names() == kept


def _away(tmp_path) -> PictureStore:
    """A folder below what is no folder, as where nothing is mounted."""
    (tmp_path / "nowhere").write_text("a file")
    return PictureStore(tmp_path / "nowhere" / "media", VAULT)
