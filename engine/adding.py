"""`pastiche experts add`: check an adapter (or a merged model), record its digest, write its card."""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import tomlkit

from engine.bases import EMBEDDED, fetch, is_hub_id
from engine.errors import LimitError, SetupError
from engine.registry import CARD, NAME_PATTERN, Registry, load_card
from engine.settings import Settings
from engine.weights import DIGESTED, check_adapter, check_weights, digest_of, is_adapter

NAME = re.compile(NAME_PATTERN)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewExpert:
    """What an operator says of it; the rest comes from the adapter itself."""

    spec: str
    name: str
    title: str
    licence: str
    command: str = "story"
    base: str = ""
    about: str = ""
    keywords: tuple[str, ...] = ()
    replace: bool = False


def add_expert(new: NewExpert, settings: Settings) -> Path:
    """Returns the card's path. Raises AskerError or SetupError; then nothing was changed."""
    if not NAME.fullmatch(new.name):
        raise LimitError(
            f"{new.name!r} cannot be a name: use small letters, digits, - and _, at most 32; "
            "--name sets it."
        )
    registry = Registry.load(settings.expert_roots, settings.profile)
    folder = settings.home / "experts" / new.name
    if not new.replace and (registry.named(new.name) or folder.exists()):
        raise LimitError(
            f"There is an expert {new.name!r} already. Add --replace to put this in its place."
        )
    source = fetch(new.spec)
    if not source.exists():
        raise LimitError(f"There is no folder {new.spec}.")
    check_weights(source)
    whole = not is_adapter(source)
    config = {} if whole else check_adapter(source)
    base = new.base or str(config.get("base_model_name_or_path") or "")
    if whole:
        base = new.spec if is_hub_id(new.spec) else str(source.absolute())
    elif not base or not (base in EMBEDDED or is_hub_id(base) or Path(base).expanduser().exists()):
        known = ", ".join(EMBEDDED)
        raise LimitError(
            f"The adapter does not name a base that is here ({base or 'none'}). Say which with "
            f"--base: a hub id, a folder, or {known}."
        )
    if not is_hub_id(base) and base not in EMBEDDED:
        base = str(Path(base).expanduser().absolute())
    aside = folder.with_name(f".{new.name}")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        final = _write(aside / new.name, new, source, base, whole, settings.profile)
        shutil.rmtree(folder, ignore_errors=True)
        final.rename(folder)
    except OSError as error:
        raise SetupError(f"{folder} cannot be written: {error}") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return folder / CARD


def _write(
    folder: Path, new: NewExpert, source: Path, base: str, whole: bool, profile: str
) -> Path:
    """The expert's folder, complete and checked by reading its card back."""
    folder.mkdir(parents=True)
    weights = {"base": base, "adapter": base, "digest": digest_of(source)}
    if not whole:
        target = folder / "adapter"
        target.mkdir()
        for file in source.iterdir():
            if file.is_file() and file.suffix in DIGESTED:
                shutil.copy2(file, target)
        weights = {"base": base, "adapter": "adapter", "digest": digest_of(target)}
    card = {
        "name": new.name,
        "title": new.title,
        "medium": "text",
        "command": new.command,
        "about": new.about,
        "keywords": list(new.keywords) or [new.name],
        "profiles": {profile: weights},
        "rights": {"licence": new.licence},
    }
    (folder / CARD).write_text(tomlkit.dumps(card), encoding="utf-8")
    try:
        load_card(folder)
    except SetupError as error:
        mistake = str(error).partition("is not right: ")[2] or str(error)
        raise LimitError(f"The expert cannot be added: {mistake}.") from error
    return folder
