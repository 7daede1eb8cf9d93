"""Files of weights: where they lie, whether they may be loaded, and their digests. Only safetensors and
GGUF are ever opened: a pickle can run code when it is read, and is refused by name."""

import hashlib
import json
from pathlib import Path
from typing import Any

from engine.errors import ModelError

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
WEIGHTS = (".safetensors", ".gguf")
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
DIGESTED = (*WEIGHTS, ".json", ".jinja", ".model")
PIPELINE = "model_index.json"  # of a diffusers pipeline; its parts are sub-folders
PART_DIGESTED = (*DIGESTED, ".txt")  # a CLIP tokenizer has its merges in a text file
LORA_WEIGHTS = "pytorch_lora_weights.safetensors"  # diffusers' own name for a LoRA of pictures
WITHOUT_WEIGHTS = ("tokenizer", "tokenizer_2", "scheduler", "feature_extractor")
# The digests of a base's files, as sha256sum writes them; digest_of does not count this file.
SUMS = "SHA256SUMS"
MOST_JSON = 4 << 20  # bytes of an adapter's or a pipeline's settings, which have some kB


def digest_of(path: Path) -> str:
    """`sha256:` over the sorted "sha256 name" lines of a folder's weights, configs and tokenizer,
    without hidden files, or over a file's one line. A pipeline's parts have lines too, named
    "unet/config.json"."""
    lines = [f"{sha256_of(file)}  {name}\n" for name, file in _digested(path)]
    return "sha256:" + hashlib.sha256("".join(lines).encode()).hexdigest()


def _digested(path: Path) -> list[tuple[str, Path]]:
    if path.is_file():
        return [(path.name, path)] if path.suffix in DIGESTED else []
    found = [(file.name, file) for file in path.iterdir() if file.suffix in DIGESTED]
    if is_pipeline(path):
        found += [
            (f"{file.parent.name}/{file.name}", file)
            for file in path.glob("*/*")
            if file.suffix in PART_DIGESTED and not file.parent.name.startswith(".")
        ]
    return sorted((n, f) for n, f in found if f.is_file() and not f.name.startswith("."))


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_adapter(folder: Path) -> bool:
    """An adapter says so itself; a folder without that file is a whole (merged) model."""
    return (folder / ADAPTER_CONFIG).is_file()


def is_pipeline(folder: Path) -> bool:
    return (folder / PIPELINE).is_file()


def lora_file(place: Path) -> Path | None:
    """Find the file of a LoRA for pictures: the file itself, or a folder's one, diffusers' own first."""
    if place.is_file():
        return place if place.suffix == ".safetensors" else None
    if not place.is_dir():
        return None
    if (place / LORA_WEIGHTS).is_file():
        return place / LORA_WEIGHTS
    if is_adapter(place) or (place / "config.json").is_file():
        return None
    files = [p for p in place.iterdir() if p.suffix == ".safetensors"]
    return files[0] if len(files) == 1 else None


def check_weights(folder: Path) -> None:
    """Raise ModelError unless the folder holds readable safetensors (or GGUF) weights."""
    if not folder.is_dir():
        raise ModelError(f"There is no model folder {folder}. Run `pastiche doctor`.")
    weights = [p for p in folder.iterdir() if p.suffix in WEIGHTS]
    if not weights:
        raise no_weights(folder, "weights (.safetensors or .gguf)")
    for path in weights:
        if path.suffix == ".safetensors":
            check_safetensors(path)


def no_weights(place: Path, wanted: str) -> ModelError:
    names = sorted(p.name for p in place.iterdir()) if place.is_dir() else [place.name]
    if pickles := [name for name in names if name.endswith(PICKLES)]:
        return ModelError(
            f"{place} holds only pickled weights ({pickles[0]}), which can run code when read. "
            "Convert them to safetensors first."
        )
    return ModelError(f"{place} holds no {wanted}.")


def _read_json(path: Path) -> Any:
    """Read settings that somebody else wrote. Raises OSError, ValueError."""
    if not path.exists():
        raise FileNotFoundError(path)
    if not path.is_file() or path.stat().st_size > MOST_JSON:
        raise ValueError(f"it is no file of at most {MOST_JSON >> 20} MiB")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def check_pipeline(folder: Path) -> None:
    """Raise ModelError unless every part that has weights has them as readable safetensors."""
    try:
        index = _read_json(folder / PIPELINE)
        parts = [name for name, kind in index.items() if isinstance(kind, list) and kind[0]]
    except FileNotFoundError as error:
        raise ModelError(
            f"{folder} is no image base: it has no {PIPELINE}. Name the folder of a diffusers pipeline."
        ) from error
    except (OSError, ValueError, AttributeError, IndexError) as error:
        raise ModelError(f"{folder / PIPELINE} cannot be read: {error}") from error
    for part in parts:
        if part in WITHOUT_WEIGHTS:
            if not (folder / part).is_dir():
                raise ModelError(f"{folder} is incomplete: it has no folder {part}. Fetch it anew.")
            continue
        check_weights(folder / part)


def check_safetensors(path: Path) -> None:
    """Read the header only: a cut-off download or a file of something else shows there."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            file.keys()
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"{path} is damaged ({error}). Delete it and fetch or convert it again."
        ) from error


def check_adapter(folder: Path) -> dict[str, object]:
    try:
        config = _read_json(folder / ADAPTER_CONFIG)
    except FileNotFoundError as error:
        raise ModelError(f"{folder} is no adapter: it has no {ADAPTER_CONFIG}.") from error
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder / ADAPTER_CONFIG} cannot be read: {error}") from error
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        kind = str(config.get("peft_type") if isinstance(config, dict) else None)[:60]
        raise ModelError(
            f"{folder} is not a LoRA adapter (its configuration says {kind}); only LoRA adapters are "
            "served. If its library can merge it into its base, add the whole model."
        )
    if not (folder / ADAPTER_WEIGHTS).is_file():
        check_weights(folder)  # says what there is instead
        raise ModelError(
            f"{folder} has no {ADAPTER_WEIGHTS}, which is all that is ever read of it."
        )
    check_safetensors(folder / ADAPTER_WEIGHTS)
    return config


def compared_digest(what: str, place: Path, digest: str) -> str:
    found = digest_of(place)
    if digest and digest != found:
        raise ModelError(
            f"{what} is not the one on its card ({found} instead of {digest}). Restore the file, or "
            "add it anew: pastiche experts add --help"
        )
    return found


def sums(folder: Path) -> str:
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != SUMS)
    return "".join(f"{sha256_of(path)}  {path.relative_to(folder).as_posix()}\n" for path in files)


def write_sums(folder: Path) -> None:
    (folder / SUMS).write_text(sums(folder), encoding="utf-8")


def damaged(folder: Path) -> list[str]:
    """Name the files that are not what was noted; SHA256SUMS itself where nothing was."""
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return [SUMS]
    wrong = []
    for digest, _, name in (line.partition("  ") for line in lines):
        path = folder / name
        try:
            if not path.is_file() or sha256_of(path) != digest:
                wrong.append(name)
        except OSError as error:
            raise ModelError(f"{path} cannot be read: {error}") from error
    return wrong
