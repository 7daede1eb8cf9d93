"""An empty ledger with a study, made once and copied for every run of a state machine."""

import os
import shutil
import tempfile
from functools import cache
from pathlib import Path

from studied import make_study

from engine.ledger.ledger import new_id
from engine.ledger.storage import upgrade
from engine.settings import Settings


class World:
    """An empty ledger with a study, made once, copied for every run."""

    def __init__(self) -> None:
        shm = Path("/dev/shm")
        where = str(shm) if shm.is_dir() and os.access(shm, os.W_OK) else None
        self._folder = tempfile.TemporaryDirectory(dir=where, prefix="study-machine-")
        self.folder = Path(self._folder.name)
        self.settings = Settings(
            home=self.folder / "template",
            backend="echo",
            key_file=self.folder / "key",
            study="pilot",
        )
        make_study(self.settings.home)
        upgrade(self.settings)

    def copy(self) -> Settings:
        home = self.folder / new_id()
        shutil.copytree(self.settings.home, home)
        key = self.folder / "study.key"
        return self.settings.model_copy(update={"home": home, "study_key_file": key})


@cache
def world() -> World:
    """The one of this process."""
    return World()
