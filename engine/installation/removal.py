"""`pastiche experts remove`: an added expert's card and adapter taken away."""

import os
import shutil
from pathlib import Path

from engine.errors import LimitError, SetupError
from engine.installation.install import NAME
from engine.plan.cards import BUILT_IN, CARD
from engine.settings import Settings


def added_folder(name: str, settings: Settings) -> Path:
    """Find an added expert. Raises LimitError for one that is not there, or is built in."""
    folder = settings.home / "experts" / name
    if NAME.fullmatch(name) and folder.exists():
        return folder
    if NAME.fullmatch(name) and (BUILT_IN / name / CARD).is_file():
        raise LimitError(
            f"{name} is built in and stays. A card of your own takes its place: pastiche experts add "
            f"--name {name} --replace"
        )
    raise LimitError(f"There is no added expert {name!r}. `pastiche experts` lists them all.")


def remove_expert(folder: Path) -> None:
    """Take it out of sight at once, then delete it. Raises SetupError."""
    aside = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        folder.rename(aside)
        if aside.is_symlink():
            aside.unlink()
        else:
            shutil.rmtree(aside)
    except OSError as error:
        raise SetupError(f"{folder} cannot be removed: {error}") from error
