"""Making an embedded base ready: its GGUF file out of the wheel, once, as a safetensors folder."""

import fcntl
import importlib.util
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO, Any

from safetensors import SafetensorError

from engine.errors import ModelError
from engine.files import whole_folder
from engine.weights.bases import (
    EMBEDDED,
    MANIFEST,
    SHIPPED,
    EmbeddedBase,
    find_base,
    how_to_prepare,
    is_prepared,
)
from engine.weights.weight_files import check_weights, damaged, sha256_of, write_sums

TURN_SECONDS, TURN_PAUSE = 900.0, 0.2  # while another process prepares a base here
STEPS = ("checking the download", "reading the tokenizer", "unpacking the weights", "saving")


def source_files(base: EmbeddedBase) -> list[Path]:
    paths = []
    for package, file in base.pieces:
        found = importlib.util.find_spec(package)
        paths.append(Path(found.origin).parent / file if found and found.origin else Path(file))
    if not all(path.is_file() for path in paths):
        raise ModelError(f"The base {base.id} is not installed. Run: {base.install}")
    return paths


@contextmanager
def whole_source(base: EmbeddedBase, models: Path) -> Iterator[Path]:
    """Give its GGUF file, put together for the time of the block where it comes in pieces."""
    paths = source_files(base)
    if len(paths) == 1:
        yield paths[0]
        return
    whole = models / f"{base.id}.gguf"
    try:
        with whole.open("wb") as file:
            for path in paths:
                with path.open("rb") as piece:
                    shutil.copyfileobj(piece, file)
        yield whole
    finally:
        whole.unlink(missing_ok=True)


def prepare(
    spec: str,
    models: Path,
    step: Callable[[str], None] = lambda _what: None,
    *,
    agreed: bool = False,
) -> Path:
    """Convert an embedded base unless it is there byte for byte; `step` is told of each of STEPS. One
    with terms asks for a person who has `agreed`. A kill leaves nothing half."""
    if spec in SHIPPED:
        return Path(find_base(spec, models))
    try:
        models.mkdir(parents=True, exist_ok=True)
        with (models / ".lock").open("w") as lock:
            _wait_for_turn(lock)  # another process may be at it; then it is done after
            return _prepare(EMBEDDED[spec], models, step, agreed=agreed)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"The base {spec} could not be written: {error}") from error


def _wait_for_turn(lock: IO[str]) -> None:
    until = time.monotonic() + TURN_SECONDS
    while time.monotonic() < until:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(TURN_PAUSE)
    raise ModelError(
        f"Another process has been preparing a model for {TURN_SECONDS / 60:.0f} minutes and has not "
        "ended. End it, then try again."
    )


def _prepare(
    base: EmbeddedBase, models: Path, step: Callable[[str], None], *, agreed: bool
) -> Path:
    folder = models / base.id
    if is_prepared(folder) and not damaged(folder):
        return folder
    if base.terms and not agreed:
        raise ModelError(f"{base.id} has terms to agree to first. Run: {how_to_prepare(base.id)}")
    source_files(base)
    step(STEPS[0])
    check_room(base, models)
    with whole_source(base, models) as source, whole_folder(folder) as part:
        if sha256_of(source) != base.sha256:
            raise ModelError(f"{source} is damaged. Run: {base.install} --force-reinstall")
        _convert(source, part, step)
        sizes = {p.name: p.stat().st_size for p in part.iterdir()}
        facts = {"id": base.id, "source_sha256": base.sha256, "licence": base.licence}
        (part / MANIFEST).write_text(
            json.dumps(facts | {"bytes": sizes}, indent=1) + "\n", encoding="utf-8"
        )
        write_sums(part)
    return folder


def check_room(base: EmbeddedBase, models: Path) -> None:
    free = shutil.disk_usage(models).free
    if free < base.bytes:
        raise ModelError(
            f"The base {base.id} needs {base.bytes >> 20} MiB in {models}, where {free >> 20} MiB are "
            "free. Make room, or name another data folder with PASTICHE_HOME."
        )


@contextmanager
def _read_once() -> Iterator[None]:
    """Let transformers 5 read the file once, not three times, and make one table of tensors' names, not
    one a tensor: half of the conversion's time."""
    import gguf

    slow = gguf.GGUFReader, gguf.get_tensor_name_map
    gguf.GGUFReader, gguf.get_tensor_name_map = map(cache, slow)
    try:
        yield
    finally:
        gguf.GGUFReader, gguf.get_tensor_name_map = slow


@_read_once()
def _convert(source: Path, target: Path, step: Callable[[str], None]) -> None:
    """Convert GGUF to a safetensors folder in bfloat16 (transformers unpacks it: GgufConfig)."""
    os.environ.setdefault("TQDM_DISABLE", "1")  # our own bar is up
    import torch
    import transformers

    transformers.utils.logging.set_verbosity_error()
    step(STEPS[1])
    gguf: dict[str, Any] = {"gguf_file": source.name, "local_files_only": True}
    tokenizer = transformers.AutoTokenizer.from_pretrained(source.parent, **gguf)
    step(STEPS[2])
    model = transformers.AutoModelForCausalLM.from_pretrained(
        source.parent,
        **gguf,
        dtype=torch.bfloat16,
        quantization_config=transformers.GgufConfig(dequantize=True),
    )
    # A model that came from GGUF calls itself quantized and refuses to be saved, unpacked or not.
    model.hf_quantizer = None
    model.is_quantized = False
    model.quantization_method = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    step(STEPS[3])
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
    check_weights(target)
