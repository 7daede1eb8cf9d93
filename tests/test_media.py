"""Where pictures lie: a folder, a real S3 server on the loopback, and another file system of fsspec."""

import logging
import threading
import time
from collections.abc import Iterator

import pytest
from moto.server import ThreadedMotoServer

from engine.backends.echo import EchoBackend
from engine.errors import LedgerError, MediaError, SetupError
from engine.ledger.ledger import Ledger
from engine.ledger.picture_cleanup import SAFE_SECONDS, discard
from engine.ledger.storage import open_database, upgrade
from engine.media.media_address import MediaStore, open_media
from engine.media.object_store import RemoteStore
from engine.media.store import FolderStore, name_of
from engine.vault import Vault

BUCKET = "attic"
VAULT = Vault(b"k" * 32)


@pytest.fixture(scope="module")
def s3_server() -> Iterator[str]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    _host, port = server.get_host_and_port()
    yield f"http://127.0.0.1:{port}"
    server.stop()


@pytest.fixture
def s3(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of an empty place in a bucket; who we are stands in the environment."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "access-1234")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary-secret-5678")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    import fsspec

    files = fsspec.filesystem("s3", skip_instance_cache=True)
    if not files.exists(BUCKET):
        files.mkdir(BUCKET)
    return f"s3://{BUCKET}/{time.monotonic_ns()}"


@pytest.fixture(params=["folder", "s3", "memory"])
def store(request: pytest.FixtureRequest, tmp_path) -> MediaStore:
    match request.param:
        case "s3":
            return open_media(request.getfixturevalue("s3"), VAULT)
        case "memory":
            return open_media(f"memory://media-{time.monotonic_ns()}", VAULT)
        case _:
            return open_media(tmp_path / "media", VAULT)


def test_a_picture_is_kept_once_sealed_and_found_again(store: MediaStore) -> None:
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


def test_what_was_just_put_is_not_old(store: MediaStore) -> None:
    name = store.put(b"a picture")
    assert store.names(older=SAFE_SECONDS) == []
    assert store.names() == [name]


def test_bytes_in_a_bucket_are_sealed_and_open_only_with_their_key(s3: str) -> None:
    name = open_media(s3, VAULT).put(b"\x89PNG canary")
    import fsspec

    files = fsspec.filesystem("s3", skip_instance_cache=True)
    assert b"canary" not in files.cat_file(f"{s3}/{name[:2]}/{name}")
    with pytest.raises(LedgerError):
        open_media(s3, Vault(b"q" * 32)).get(name)


def test_a_store_that_is_away_is_told_without_address_or_secret(s3: str, monkeypatch) -> None:
    store = open_media(s3, VAULT)
    name = store.put(b"a picture")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    away = open_media(s3, VAULT)
    for call in (lambda: away.put(b"x"), lambda: away.get(name), away.check, away.names):
        with pytest.raises(MediaError, match="store of pictures cannot be") as told:
            call()
        assert "canary" not in str(told.value)
        assert BUCKET not in str(told.value)


def test_a_bucket_that_is_not_there_is_told(s3: str) -> None:
    with pytest.raises(MediaError):
        open_media("s3://nosuchbucket/x", VAULT).check()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("s3://me:secret@bucket/x", "holds a password"),
        ("s3://", "names no bucket"),
        ("nonsense://bucket", "cannot be used"),
        ("gs://bucket/x", "needs a package that is not here"),
    ],
)
def test_an_address_that_cannot_be_used_says_what_to_do(url: str, words: str) -> None:
    with pytest.raises(SetupError, match=words) as told:
        open_media(url, VAULT)
    assert "secret" not in str(told.value)


def test_a_file_address_is_a_folder(tmp_path) -> None:
    store = open_media(f"file://{tmp_path}/with%20room", VAULT)
    assert isinstance(store, FolderStore)
    store.put(b"a picture")
    assert list((tmp_path / "with room").glob("??/*"))


def test_elsewhere_a_picture_has_its_name_only_when_it_is_whole(tmp_path) -> None:
    """local:// stands for FTP, SFTP and their like, which show a file while it grows."""
    store = RemoteStore(f"local://{tmp_path}", VAULT)
    name = store.put(b"a picture")
    assert store.get(name) == b"a picture"
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == [name]
    (tmp_path / name_of(b"another")[:2]).write_text("a file stands where a folder should be")
    with pytest.raises(MediaError):
        store.put(b"another")


@pytest.fixture
async def bucket_ledger(settings, s3):
    settings = settings.model_copy(update={"media_url": s3})
    upgrade(settings)
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
    bucket_ledger, registry, make_request, s3, monkeypatch
) -> None:
    final = await drawn(bucket_ledger, registry, make_request)
    here, bucket_ledger.media = bucket_ledger.media, _away(s3, monkeypatch)
    with pytest.raises(LedgerError):
        await bucket_ledger.finish(final)
    assert await bucket_ledger.final(final.job) is None  # nothing is lost, nothing half written
    bucket_ledger.media = here
    assert await bucket_ledger.finish(final)
    assert (await bucket_ledger.final(final.job)).pictures == final.pictures


async def test_what_a_store_does_not_let_go_of_goes_when_it_is_back(
    bucket_ledger, registry, make_request, s3, monkeypatch
) -> None:
    final = await drawn(bucket_ledger, registry, make_request)
    await bucket_ledger.finish(final)
    names = bucket_ledger.media.names()
    async with bucket_ledger.writing() as connection:
        await connection.exec_driver_sql("delete from pictures")
        await discard(connection, names, 0.0)
    here, bucket_ledger.media = bucket_ledger.media, _away(s3, monkeypatch)
    assert await bucket_ledger.throw_away() == 0
    bucket_ledger.media = here
    assert here.names() == names
    assert await bucket_ledger.throw_away() == len(names)
    assert here.names() == []
    assert await bucket_ledger.throw_away() == 0


async def test_a_sweep_of_a_bucket_spares_what_is_new_or_spoken_of(
    bucket_ledger, registry, make_request
) -> None:
    final = await drawn(bucket_ledger, registry, make_request)
    await bucket_ledger.finish(final)
    kept = bucket_ledger.media.names()
    lost = bucket_ledger.media.put(b"left by a kill between picture and commit")
    assert await bucket_ledger.sweep(SAFE_SECONDS) == 0
    assert lost in bucket_ledger.media.names()
    assert await bucket_ledger.sweep() == 1
    assert bucket_ledger.media.names() == kept


def _away(s3: str, monkeypatch: pytest.MonkeyPatch) -> MediaStore:
    with monkeypatch.context() as away:
        away.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        store = open_media(s3, VAULT)
        with pytest.raises(MediaError):
            store.check()
    return store
