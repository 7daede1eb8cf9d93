"""Each kind of adapter that PEFT saves is written with exactly, or refused without a trace."""

import copy
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from adapter_kinds import make_kinds
from test_mixing import a_job, run
from tiny_layouts import make_layout
from tiny_models import write_card

from engine.backends.model_loading import load_base
from engine.backends.prompt_window import prompt_ids
from engine.backends.stop_rules import NO_END, finish, legible
from engine.backends.text import TextBackend
from engine.errors import ModelError
from engine.plan.cards import Registry, Sampling
from engine.settings import Settings

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # PEFT's own on such adapters
PENALTY = 1.3  # lest a tiny model say one letter over and over
JOB: dict[str, Any] = {
    "prompt": "Continue.\n\nIt rained.",
    "length": 4,
    "sampling": Sampling(
        temperature=0.0, repetition_penalty=PENALTY, repetition_last_n=0, end_gain=0.0
    ),
}


@dataclass(frozen=True, slots=True)
class Kinds:
    """A base, the adapters made for it, and what PEFT alone writes with those that are served."""

    base: Path
    served: dict[str, Path]
    refused: dict[str, Path]
    alone: dict[str, str]


@pytest.fixture(scope="session")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> Kinds:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(1)  # more of them only wait for each other in a model so small
    root = tmp_path_factory.mktemp("kinds")
    base = make_layout(root / "base", "llama")
    served, refused = make_kinds(base, root)
    own = AutoModelForCausalLM.from_pretrained(base), AutoTokenizer.from_pretrained(base)
    alone = {name: by_peft_alone(*own, folder) for name, folder in served.items()}
    return Kinds(base, served, refused, alone)


def by_peft_alone(base: Any, tokenizer: Any, adapter: Path) -> str:
    """What transformers and PEFT alone write for the job, greedily, ended as every answer is."""
    import torch
    from peft import PeftModel
    from transformers import RepetitionPenaltyLogitsProcessor

    model = PeftModel.from_pretrained(copy.deepcopy(base), adapter).eval()
    job = a_job(**JOB)
    ids = torch.tensor([prompt_ids(job, tokenizer, 512)[0]])
    with torch.inference_mode():
        made = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=34,
            min_new_tokens=int(job.length * NO_END),
            pad_token_id=0,
            logits_processor=[RepetitionPenaltyLogitsProcessor(PENALTY, ids.shape[1])],
        )
    tokens = made[0, ids.shape[1] :]
    text = legible(tokenizer.decode(tokens, skip_special_tokens=True))
    return finish(text, len(tokens), job.length)


def some_ids() -> Any:
    import torch

    return torch.arange(4, 40)[None]


def untouched(backend: TextBackend, own: Any) -> bool:
    """Whether every base that PEFT holds gives the numbers of the base's `own`, its adapters off."""
    import torch
    from peft import PeftModel

    for loaded in backend._peft._bases.values():
        adapted = isinstance(loaded.model, PeftModel)
        with loaded.model.disable_adapter() if adapted else nullcontext():
            if not torch.equal(loaded.model(some_ids()).logits, own):
                return False
    return True


@pytest.mark.parametrize("engine", ["mixing", "peft"])
async def test_each_kind_is_pefts_own_or_refused_and_the_base_stays(
    kinds: Kinds, settings: Settings, engine: str
) -> None:
    root = settings.home / "experts"
    write_card(root, "bare", kinds.base)
    for name, folder in (kinds.served | kinds.refused).items():
        write_card(root, name, kinds.base, folder)
    chosen = settings.model_copy(update={"threads": 1, "precision": "auto", "text_engine": engine})
    backend = TextBackend(chosen, Registry.load([root], "embedded"))
    own = load_base(str(kinds.base), settings.models).model(some_ids()).logits
    bare = (await run(backend, a_job("bare", **JOB))).text
    assert bare not in kinds.alone.values(), "each is heard"
    for name in sorted(kinds.served | kinds.refused):
        if name in kinds.served:
            assert (await run(backend, a_job(name, **JOB))).text == kinds.alone[name], name
        else:
            with pytest.raises(ModelError, match=name):
                await run(backend, a_job(name, **JOB))
        assert untouched(backend, own), f"after {name}"
    for name in ("usual", "dora", "embedding", "first-layer"):
        assert (await run(backend, a_job(name, **JOB))).text == kinds.alone[name], f"{name}, again"
        assert (await run(backend, a_job(name, plain=True, **JOB))).text == bare, f"{name}, plain"
