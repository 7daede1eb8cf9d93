"""Files of weights: where they lie, whether they may be loaded, and their digests.

Only safetensors and GGUF are ever opened. A pickle can run code when it is read, so a folder that
holds nothing else is refused by name.
"""

import hashlib
import json
from pathlib import Path

from engine.errors import ModelError

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
WEIGHTS = (".safetensors", ".gguf")
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
DIGESTED = (*WEIGHTS, ".json", ".jinja", ".model")
READ_BYTES = 1 << 20


def digest_of(path: Path) -> str:
    """`sha256:` over the sorted "sha256  name" lines of a folder's weights, configs and tokenizer.

    A single file's digest is over its one line. Hidden files do not count.
    """
    files = [path] if path.is_file() else sorted(p for p in path.iterdir() if p.is_file())
    lines = [
        f"{_sha256(file)}  {file.name}\n"
        for file in files
        if file.suffix in DIGESTED and not file.name.startswith(".")
    ]
    return "sha256:" + hashlib.sha256("".join(lines).encode()).hexdigest()


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(READ_BYTES):
            digest.update(block)
    return digest.hexdigest()


def is_adapter(folder: Path) -> bool:
    """An adapter says so itself; a folder without that file is a whole (merged) model."""
    return (folder / ADAPTER_CONFIG).is_file()


def check_weights(folder: Path) -> None:
    """Raise ModelError unless the folder holds readable safetensors (or GGUF) weights."""
    if not folder.is_dir():
        raise ModelError(f"There is no model folder {folder}. Run `pastiche doctor`.")
    weights = [p for p in folder.iterdir() if p.suffix in WEIGHTS]
    if not weights:
        pickles = sorted(p.name for p in folder.iterdir() if p.suffix in PICKLES)
        if pickles:
            raise ModelError(
                f"{folder} holds only pickled weights ({pickles[0]}), which can run code when read. "
                "Convert them to safetensors first."
            )
        raise ModelError(f"{folder} holds no weights (.safetensors or .gguf).")
    for path in weights:
        if path.suffix == ".safetensors":
            _check_safetensors(path)


def _check_safetensors(path: Path) -> None:
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
    """The adapter's config, after checking config and weights. Raises ModelError."""
    try:
        config = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(f"{folder} is no adapter: it has no {ADAPTER_CONFIG}.") from error
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder / ADAPTER_CONFIG} cannot be read: {error}") from error
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        raise ModelError(f"{folder} is not a LoRA adapter; only LoRA adapters are served.")
    if not (folder / ADAPTER_WEIGHTS).is_file():
        check_weights(folder)  # says what there is instead
        raise ModelError(
            f"{folder} has no {ADAPTER_WEIGHTS}, which is all that is ever read of it."
        )
    _check_safetensors(folder / ADAPTER_WEIGHTS)
    return config
