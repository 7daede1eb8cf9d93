"""What tests share: a data folder of their own, real parts on it, the echo backend as the model."""

import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

from engine import bases
from engine.database import open_database, upgrade
from engine.jobs import Request
from engine.ledger import Ledger
from engine.registry import BUILT_IN, Registry
from engine.settings import Settings

hypothesis.settings.register_profile("shared", deadline=None)  # the machine may be busy
hypothesis.settings.load_profile("shared")
PREPARED = os.environ.get("PASTICHE_TEST_MODELS", "")
OURS = ("PASTICHE_", "DISCORD_", "TELEGRAM_", "XDG_", "OPERATORS", "MESSAGE_CONTENT")


@pytest.fixture(autouse=True)
def clean_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting, token or key of the person who runs the tests reaches them."""
    for name in list(os.environ):
        if name.startswith(OURS):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("PASTICHE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PASTICHE_BACKEND", "echo")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    """Settings of an empty data folder; its socket folder goes away with the test."""
    made = Settings(home=tmp_path / "home", backend="echo")
    yield made
    if made.runtime.is_dir():
        for path in made.runtime.iterdir():
            path.unlink()
        made.runtime.rmdir()


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
    bases.prepare("smollm2-135m-instruct", folder, steps.append)
    assert tuple(steps) == bases.STEPS
    return folder


@pytest.fixture
async def ledger(settings: Settings) -> AsyncIterator[Ledger]:
    """A ledger on disk, at the newest schema."""
    upgrade(settings)
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
