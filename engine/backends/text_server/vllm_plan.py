"""What vLLM is started with: the base that most cards name, and the adapters of these cards.

An adapter is served under its expert's name and the first letters of its digest: vLLM keeps what it has
read of prompts by an adapter's name, so other weights need another. A process serves one base; cards of
another, and those that it would not serve exactly, are left to our own engine.
"""

import json
import os
import shutil
import sys
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from engine.backends.model_loading import resolve
from engine.errors import ModelError
from engine.plan.cards import Expert, Registry
from engine.weights.adapter_config import read_config
from engine.weights.adapter_fit import check_expert
from engine.weights.bases import fetch, find_base, unpinned
from engine.weights.weight_files import check_weights, compared_digest

RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # that vLLM knows
LETTERS = slice(7, 19)  # of a digest


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedExpert:
    """An expert by the name that it is asked for by; without a folder the base answers for it."""

    base: str
    name: str
    folder: Path | None = None
    rank: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class VllmPlan:
    base: str
    folder: Path
    experts: dict[str, ServedExpert]
    left: dict[str, str]  # experts that it does not serve, and why

    @property
    def adapters(self) -> dict[str, Path]:
        return {own.name: own.folder for own in self.experts.values() if own.folder}

    def command(self, *words: str, but: Collection[str] = (), plain: bool = False) -> list[str]:
        """Say how it is started, `but` these adapters; `plain`: by the cards' own names."""
        program = "vllm" if plain else vllm_program()
        if not program:
            raise ModelError("There is no program vllm. docs/vllm.md says how to install it.")
        base = unpinned(self.base)[0] if plain else self.base
        adapters = [
            json.dumps({"name": name.partition("@")[0] if plain else name, "path": str(folder),
                        "base_model_name": base})
            for name, folder in self.adapters.items()
            if name not in but
        ]  # fmt: skip
        most = max(own.rank for own in self.experts.values())
        return [
            program, "serve", str(self.folder),
            "--served-model-name", base,
            "--generation-config", "vllm",  # else the base's own counts where we say nothing
            "--enable-lora", "--max-loras", str(max(1, len(adapters))),
            "--max-lora-rank", str(next(rank for rank in RANKS if rank >= most)),
            *(["--lora-modules", *adapters] if adapters else []),
            "--uvicorn-log-level", "warning",  # no line for every look at its health
            *words,
        ]  # fmt: skip


def vllm_program() -> str:
    """Find `vllm`, on PATH or beside this Python; "" where there is none."""
    here = str(Path(sys.executable).parent)
    return shutil.which("vllm", path=os.pathsep.join((os.environ.get("PATH", ""), here))) or ""


def on_cuda() -> bool:
    import torch

    return torch.cuda.is_available()


def make_plan(registry: Registry, models: Path, base: str = "") -> VllmPlan:
    """Check every card's files, fetched if need be, and take the experts of `base`, or of the base that
    most have. Raises ModelError if that cannot be served."""
    left: dict[str, str] = {}
    experts: dict[str, ServedExpert] = {}
    for expert in (e for e in registry.experts if e.medium == "text"):
        try:
            experts[expert.name] = _served(expert, registry, models)
        except ModelError as error:
            left[expert.name] = str(error)
    if not experts:
        raise ModelError(f"vLLM can serve no card. {' '.join(left.values())}")
    base = base or Counter(own.base for own in experts.values()).most_common(1)[0][0]
    folder = fetch(find_base(base, models))
    check_weights(folder)
    left |= {e: f"Its base is {own.base}." for e, own in experts.items() if own.base != base}
    experts = {e: own for e, own in experts.items() if own.base == base}
    return VllmPlan(base=base, folder=folder, experts=experts, left=left)


def _served(expert: Expert, registry: Registry, models: Path) -> ServedExpert:
    card = registry.weights(expert)
    weights, folder = resolve(card)
    if weights.base != card.base or weights.base.endswith(".gguf"):
        raise ModelError("It is a whole model of its own, or a GGUF file.")
    if folder is None:
        return ServedExpert(base=weights.base, name=weights.base)
    digest = compared_digest(f"The adapter of {expert.name}", folder, weights.digest)
    check_expert(expert.name, "text", folder, weights.base, models)
    config = read_config(expert.name, folder)
    if config.beyond or config.rank_pattern or config.alpha_pattern or config.r > RANKS[-1]:
        raise ModelError("Its adapter has more than vLLM knows: DoRA, or ranks by layer.")
    name = f"{expert.name}@{digest[LETTERS]}"
    return ServedExpert(base=weights.base, name=name, folder=folder, rank=config.r)
