"""`pastiche experts remove` and `rename`: an added expert taken away, or given another name."""

import os
import shutil
from pathlib import Path

import tomlkit

from engine.errors import LimitError, SetupError, in_one_line
from engine.files import write_file
from engine.installation.install import NAME
from engine.plan.cards import BUILT_IN, CARD
from engine.settings import Settings


def added_folder(name: str, settings: Settings) -> Path:
    """Find an added expert. Raises LimitError for one that is not there, or is built in."""
    folder = settings.home / "experts" / name
    if name and name[0] != "." and Path(name).name == name and folder.exists():
        return folder  # also one whose name is not right: it can be given another
    if NAME.fullmatch(name) and (BUILT_IN / name / CARD).is_file():
        raise LimitError(
            f"{name} is built in and stays. A card of your own takes its place: pastiche experts add "
            f"--name {name} --replace"
        )
    raise LimitError(f"There is no added expert {name!r}. `pastiche experts` lists them all.")


def rename_expert(folder: Path, name: str) -> None:
    """Write the name into its card, whatever stood there, and give it to its folder."""
    if not NAME.fullmatch(name):
        raise LimitError(f"{name!r} cannot be a name: small letters, digits, - and _, at most 32.")
    target = folder.with_name(name)
    if (target != folder and target.exists()) or (BUILT_IN / name).exists():
        raise LimitError(f"There is an expert {name!r} already.")
    try:
        card = tomlkit.parse((folder / CARD).read_text(encoding="utf-8"))
        if card.get("title") == card.get("name"):
            card["title"] = name
        card["name"] = name
        write_file(folder / CARD, tomlkit.dumps(card))
        folder.rename(target)
    except (OSError, ValueError) as error:
        raise SetupError(f"{folder} cannot be renamed: {in_one_line(error)}") from error


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
