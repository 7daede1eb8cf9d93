"""`pastiche experts add` checks an adapter (or a merged model), records its digest and writes its card;
`experts remove` takes all of it away."""

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomlkit

from engine.errors import LimitError, ModelError, SetupError
from engine.files import BUILT_IN
from engine.installation.install_images import check_pictures, draws_pictures, inherited
from engine.plan.cards import CARD, NAME_PATTERN, Expert, Medium, Registry, load_card
from engine.settings import Settings
from engine.weights.adapter_fit import check_expert
from engine.weights.bases import EMBEDDED, SHIPPED, fetch, fetch_pipeline, is_hub_id, known_as
from engine.weights.weight_files import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    DIGESTED,
    PIPELINE,
    check_adapter,
    check_weights,
    digest_of,
    is_adapter,
    is_pipeline,
)

NAME = re.compile(NAME_PATTERN)
MOST_FILES = 64  # of an adapter
MOST_BYTES = 8 << 30
COMMANDS = {"text": "story", "image": "jewel"}
# As the built-in writers have it; without it small models loop.
SAMPLING = {"repetition_penalty": 1.05, "dry_multiplier": 0.8, "dry_allowed_length": 3}


@dataclass(frozen=True, slots=True, kw_only=True)
class NewExpert:
    """What an operator says of it; the rest comes from the adapter, or from a card that is replaced."""

    spec: str
    name: str
    title: str
    licence: str
    command: str = ""
    base: str = ""
    vae: str = ""
    prompt: str = ""
    token: str = ""
    about: str = ""
    keywords: tuple[str, ...] = ()
    replace: bool = False


def add_expert(new: NewExpert, settings: Settings) -> Path:
    """Add an expert; returns its card's path. Raises AskerError or SetupError, with nothing changed."""
    registry = Registry.load(settings.expert_roots, settings.profile)
    folder = settings.home / "experts" / new.name
    _check_name(new, registry, folder)
    asked = fetch(new.spec, patterns=(PIPELINE,))
    source = fetch_pipeline(new.spec) if is_pipeline(asked) else fetch(new.spec)
    _check_kind(source, new.spec)
    medium: Medium = "image" if draws_pictures(source) else "text"
    whole = check_pictures(source) if medium == "image" else _check_texts(source)
    kept = inherited(registry, new.name, medium)
    _check_command(new, medium, kept, registry)
    base = str(source.absolute()) if whole else _base(new, source, medium, kept)
    if not whole:
        files_of(source)
        check_expert(new.name, medium, source, base, settings.models)
    if whole and is_hub_id(new.spec):
        base = new.spec
    weights = {**kept.get("weights", {}), "base": base, "adapter": base if whole else "adapter"}
    weights |= {"vae": _vae(new.vae)} if new.vae else {}
    aside = folder.with_name(f".{new.name}")  # a card is read back from a folder of its name
    shutil.rmtree(aside, ignore_errors=True)
    try:
        _copy(aside / new.name, source, weights)
        _write_card(aside / new.name, _card(new, medium, kept, settings.profile, weights))
        if os.path.lexists(folder):
            folder.rename(aside / "old")  # and away with the rest
        (aside / new.name).rename(folder)
    except OSError as error:
        raise SetupError(f"{folder} cannot be written: {error}") from error
    finally:
        if os.path.lexists(aside / "old") and not os.path.lexists(folder):
            (aside / "old").rename(folder)
        shutil.rmtree(aside, ignore_errors=True)
    return folder / CARD


def _check_name(new: NewExpert, registry: Registry, folder: Path) -> None:
    if not NAME.fullmatch(new.name):
        raise LimitError(
            f"{new.name!r} cannot be a name: use small letters, digits, - and _, at most 32; "
            "--name sets it."
        )
    if not new.replace and (registry.named(new.name) or folder.exists()):
        raise LimitError(
            f"There is an expert {new.name!r} already. Add --replace to put this in its place."
        )


def _check_kind(source: Path, spec: str) -> None:
    if not source.exists():
        raise LimitError(f"There is no folder {spec}.")
    suffixes = {p.suffix for p in source.iterdir()} if source.is_dir() else {source.suffix}
    if ".gguf" in suffixes and ".safetensors" not in suffixes and not is_adapter(source):
        raise LimitError(
            f"{source} is a GGUF model, which can be a base and no adapter. Add an adapter with "
            "--base and the .gguf file's path; a merged model must be a folder of safetensors."
        )
    if source.is_dir() and (source / ADAPTER_WEIGHTS).is_file() and not is_adapter(source):
        raise ModelError(
            f"{source} has an {ADAPTER_WEIGHTS}, but its {ADAPTER_CONFIG} is missing. Copy that from "
            "where the adapter was trained."
        )


def _check_texts(source: Path) -> bool:
    """Tell a whole model from an adapter, which is checked against its base later."""
    check_weights(source)
    if is_adapter(source) or (source / "config.json").is_file():
        return not is_adapter(source)
    raise LimitError(
        f"{source} is no adapter and no model. Of several LoRAs in a folder, name one's file."
    )


def _vae(spec: str) -> str:
    folder = Path(spec).expanduser().absolute()
    if is_hub_id(spec) or (folder / "config.json").is_file():
        return spec if is_hub_id(spec) else str(folder)
    raise LimitError(f"{spec} is no VAE's folder: there is no config.json in it.")


def _check_command(
    new: NewExpert, medium: Medium, kept: dict[str, Any], registry: Registry
) -> None:
    command = _command(new, medium, kept)
    others = [e.medium for e in registry.of_command(command) if e.name != new.name]
    if any(other != medium for other in others):
        made = ("pictures", "texts") if medium == "text" else ("texts", "pictures")
        raise LimitError(
            f"/{command} makes {made[0]}, and this adapter {made[1]}. Choose another with --command, "
            f"for example {COMMANDS[medium]}."
        )


def _command(new: NewExpert, medium: Medium, kept: dict[str, Any]) -> str:
    return new.command or str(kept.get("card", {}).get("command") or COMMANDS[medium])


def remarks(expert: Expert, registry: Registry) -> list[str]:
    said = []
    if not any(e.name != expert.name for e in registry.of_command(expert.command)):
        said.append(f"/{expert.command} is a new command, which {expert.title} alone answers.")
    for other in registry.experts:
        called = {alias.casefold() for alias in other.aliases}
        for word in expert.keywords:
            if other.name != expert.name and word.casefold() in called:
                before = (other.order, other.name) < (expert.order, expert.name)
                first = other.title if before else expert.title
                said.append(f"“{word}” calls {other.title} too; {first} comes first.")
    weights = registry.weights(expert)
    if weights.adapter and weights.adapter == weights.base and not is_hub_id(weights.base):
        said.append(f"Its card points to {weights.base}, which is not copied: keep it there.")
    return said


def _base(new: NewExpert, source: Path, medium: Medium, kept: dict[str, Any]) -> str:
    """Find what the adapter is put on. Raises LimitError if nobody says, or it is not here."""
    base = new.base or str(kept.get("weights", {}).get("base", ""))
    if not base and medium == "text":
        base = str(check_adapter(source).get("base_model_name_or_path") or "")
    base = known_as(base)
    known, others = (SHIPPED, EMBEDDED) if medium == "image" else (EMBEDDED, SHIPPED)
    if base in others:
        what = "draws pictures" if medium == "image" else "writes texts"
        raise LimitError(
            f"{base} is no base for this adapter, which {what}. Say another with --base: a hub id, a "
            f"folder, or {', '.join(known)}."
        )
    if base in known or is_hub_id(base):
        return base
    if not base or not Path(base).expanduser().exists():
        raise LimitError(
            f"The adapter does not name a base that is here ({base or 'none'}). Say which with "
            f"--base: a hub id, a folder, or {', '.join(known)}."
        )
    return str(Path(base).expanduser().absolute())


def _copy(folder: Path, source: Path, weights: dict[str, Any]) -> None:
    """Make the expert's folder with a copy of its adapter, and note what it digests to."""
    folder.mkdir(parents=True)
    digested = source
    if weights["adapter"] == "adapter":
        digested = folder / "adapter"
        digested.mkdir()
        for path in files_of(source):
            shutil.copyfile(path, digested / path.name)
    elif is_pipeline(source):
        weights["adapter"] = ""  # an image base is an expert by itself
    if weights["adapter"]:
        weights["digest"] = digest_of(digested)


def _card(
    new: NewExpert, medium: Medium, kept: dict[str, Any], profile: str, weights: dict[str, Any]
) -> dict[str, Any]:
    old = kept.get("card", {})
    card: dict[str, Any] = {
        **old,
        "name": new.name,
        "title": new.title,
        "medium": medium,
        "command": _command(new, medium, kept),
        "profiles": {profile: weights},
        "rights": {"licence": new.licence},
        "about": new.about or old.get("about", ""),
        "keywords": list(new.keywords) or old.get("keywords") or [new.name] * (len(new.name) > 1),
    }
    if medium == "text":
        card.setdefault("sampling", dict(SAMPLING))
    said = {"prompt": new.prompt, "token": new.token}
    table = weights if "drawing" in weights else card  # a profile may have a [drawing] of its own
    if drawing := {**table.get("drawing", {}), **{k: v for k, v in said.items() if v}}:
        table["drawing"] = drawing
    return card


def _write_card(folder: Path, card: dict[str, Any]) -> None:
    """Write the card and check it by reading it back. Raises LimitError."""
    (folder / CARD).write_text(tomlkit.dumps(card), encoding="utf-8")
    try:
        load_card(folder)
    except SetupError as error:
        mistake = str(error).partition("is not right: ")[2] or str(error)
        raise LimitError(f"The expert cannot be added: {mistake}.") from error


def files_of(source: Path) -> list[Path]:
    """List what is copied of an adapter. Raises LimitError for links to elsewhere and too much."""
    if source.is_file():
        files = [source]
    else:
        files = [p for p in sorted(source.iterdir()) if p.suffix in DIGESTED and p.is_file()]
        files = [p for p in files if not p.name.startswith(".")]
        inside = source.resolve()
        if inside.parent.name == "snapshots":  # the hub's cache: its files are links to its blobs
            inside = inside.parents[1]
        for path in files:
            if not path.resolve().is_relative_to(inside):
                raise LimitError(
                    f"{path} is a link to a file elsewhere, which is not followed. Put the file itself "
                    "into the folder."
                )
    total = sum(path.stat().st_size for path in files)
    if len(files) > MOST_FILES or total > MOST_BYTES:
        raise LimitError(
            f"{source} holds {len(files)} files of {total >> 20} MiB; an adapter has at most "
            f"{MOST_FILES} of {MOST_BYTES >> 20} MiB in all. Put it into a folder of its own."
        )
    return files


def added_folder(name: str, settings: Settings) -> Path:
    folder = settings.home / "experts" / name
    if name and name[0] != "." and Path(name).name == name and folder.exists():
        return folder  # also one whose name is not right
    if NAME.fullmatch(name) and (BUILT_IN / name / CARD).is_file():
        raise LimitError(
            f"{name} is built in and stays. A card of your own takes its place: pastiche experts add "
            f"--name {name} --replace"
        )
    raise LimitError(f"There is no added expert {name!r}. `pastiche experts` lists them all.")


def remove_expert(folder: Path) -> None:
    """Take it out of sight at once, then delete it. Raises SetupError."""
    aside = folder.with_name(f".{folder.name}")  # one that was killed is cleared
    try:
        shutil.rmtree(aside, ignore_errors=True)
        folder.rename(aside)
        if aside.is_symlink():
            aside.unlink()
        else:
            shutil.rmtree(aside)
    except OSError as error:
        raise SetupError(f"{folder} cannot be removed: {error}") from error
