"""What tests share: a data folder of their own, real parts on it, the echo backend as the model."""

import gc
import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import groupby
from pathlib import Path

import hypothesis
import ledgers
import postgres
import pytest
from pydantic import SecretStr

from engine.files import BUILT_IN
from engine.ledger.ledger import Ledger
from engine.ledger.storage import open_database, upgrade
from engine.plan.cards import Registry
from engine.plan.job import Request
from engine.settings import Settings
from engine.weights import bases, conversion

# The same examples in each run, and no time for each: the machine may be busy. To look further, at
# random: pytest --hypothesis-profile=long
hypothesis.settings.register_profile("shared", deadline=None, derandomize=True, database=None)
hypothesis.settings.register_profile("long", deadline=None, derandomize=False, max_examples=2_000)
hypothesis.settings.load_profile("shared")
PREPARED = os.environ.get("PASTICHE_TEST_MODELS", "")
OURS = ("PASTICHE_", "AWS_", "DISCORD_", "TELEGRAM_", "XDG_", "OPERATORS", "MESSAGE_CONTENT")
# Here and not in a fixture: those of a module come before a test's own, and huggingface_hub reads its
# switch but once, when it is first imported. What the tests themselves read, xdist's processes need.
os.environ["HF_HUB_OFFLINE"] = "1"
for name in [name for name in os.environ if name.startswith(OURS)]:
    if not name.startswith("PASTICHE_TEST_"):
        del os.environ[name]


@pytest.fixture(scope="module", autouse=True)
def frozen() -> None:
    """What is there by now stays: no collection of garbage in the module walks all of it again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def clean_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting, token or key of the person who runs the tests reaches them."""
    for name in list(os.environ):
        if name.startswith(OURS):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("PASTICHE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PASTICHE_BACKEND", "echo")


def pytest_addoption(parser: pytest.Parser) -> None:
    told = "each module from its last test to its first: processes that steal run them in any order"
    parser.addoption("--backwards", action="store_true", help=told)
    told = "only the long forms of what the everyday suite shows in short"
    parser.addoption("--long", action="store_true", help=told)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    asked = config.getoption("--long")
    other = [item for item in items if bool(item.get_closest_marker("long")) != asked]
    config.hook.pytest_deselected(items=other)
    items[:] = [item for item in items if bool(item.get_closest_marker("long")) == asked]
    if config.getoption("--backwards"):
        modules = groupby(list(items), key=lambda item: item.nodeid.partition("::")[0])
        items[:] = [item for _, module in modules for item in reversed(list(module))]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """What is marked with `databases` runs on each of them."""
    if marked := metafunc.definition.get_closest_marker("databases"):
        for name in {"settings", "here"} & set(metafunc.fixturenames):
            metafunc.parametrize(name, marked.args, indirect=True)


@pytest.fixture
def settings(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Settings]:
    """Settings of an empty data folder; its socket folder goes away with the test, and before it: one of
    a run that was killed, of the same path, may lie there."""
    made = Settings(home=tmp_path / "home", backend="echo")
    if getattr(request, "param", "sqlite") == "postgres":
        made = postgres.on_postgres(made, request.getfixturevalue("postgres_database"))
        monkeypatch.setenv("PASTICHE_DATABASE_URL", made.database_url)
    shutil.rmtree(made.runtime, ignore_errors=True)
    yield made
    shutil.rmtree(made.runtime, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[postgres.Server]:
    """One throw-away server for the whole run: fast, and not safe against a power cut."""
    try:
        with postgres.running() as server:
            yield server
    except postgres.NoServerError as error:
        if postgres.REQUIRED:
            pytest.fail(str(error))
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def postgres_template(
    postgres_server: postgres.Server, tmp_path_factory: pytest.TempPathFactory
) -> str:
    """The name of a database with the newest schema, signed with the tests' key."""
    name = postgres_server.create()
    home = tmp_path_factory.mktemp("template")
    upgrade(
        Settings(home=home, key=SecretStr(postgres.KEY), database_url=postgres_server.url(name))
    )
    return name


@pytest.fixture
def postgres_database(postgres_server: postgres.Server, postgres_template: str) -> Iterator[str]:
    """The address of a database of one's own, at the newest schema."""
    with postgres_server.copy(postgres_template) as url:
        yield url


@pytest.fixture(scope="session")
def registry() -> Registry:
    """The built-in experts."""
    return Registry.load([BUILT_IN], "embedded")


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded base: the one that `make test` has prepared, else converted here (20 s)."""
    if PREPARED and bases.present("smollm2-135m-instruct", Path(PREPARED)):
        return Path(PREPARED)
    folder = tmp_path_factory.mktemp("models")
    steps: list[str] = []
    conversion.prepare("smollm2-135m-instruct", folder, steps.append)
    assert tuple(steps) == conversion.STEPS
    return folder


@pytest.fixture
async def ledger(settings: Settings) -> AsyncIterator[Ledger]:
    """A ledger on disk, at the newest schema."""
    ledgers.ready(settings)
    made = Ledger(await open_database(settings), settings.media)
    yield made
    await made.close()


@pytest.fixture
def make_request() -> Callable[..., Request]:
    """A request with everything but the text filled in."""

    def make(text: str = "It rained.", **changes: object) -> Request:
        values = {
            "command": "story",
            "text": text,
            "platform": "terminal",
            "asker": "tester",
            "place": "terminal",
            **changes,
        }
        return Request(**values)  # type: ignore[arg-type]

    return make
