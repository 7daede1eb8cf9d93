"""An empty ledger at the newest schema, made once in a process and copied for each test."""

import atexit
import shutil
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from engine.ledger.keys import key_file
from engine.ledger.storage import on_server, upgrade
from engine.settings import Settings


@cache
def _template() -> Settings:
    folder = TemporaryDirectory(prefix="pastiche-ledger-")
    atexit.register(folder.cleanup)
    made = Settings(home=Path(folder.name) / "home", key_file=Path(folder.name) / "key")
    upgrade(made)
    return made


def ready(settings: Settings) -> None:
    """Give a new data folder its ledger and key; one on a server was made from a template already."""
    if on_server(settings):
        return
    template = _template()
    settings.home.mkdir(parents=True, exist_ok=True)
    own = key_file(settings)
    own.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    shutil.copy(key_file(template), own)
    shutil.copy(template.ledger_file, settings.ledger_file)
