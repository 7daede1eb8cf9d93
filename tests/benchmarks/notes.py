"""Is a noted name likelier than three others where it is asked for, once the story has overflowed?

Each case of docs/evaluation/notes.tsv is a note, and words that go on from a long story up to a name.
The story is 51,000 characters of fiction in tests/fiction_*.txt, in which none of the names stand. The
prompt is made as the bot makes it and read by the expert as served; the log-probabilities of four names
after it are compared, with --without those without the note, too. The cases were written before anything
was measured; wordings are compared on the other set (--other, --note).
"""

import argparse
import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bot.service.request import join, recent
from engine.backends.model_loading import load_base
from engine.backends.prompt_window import prompt_ids
from engine.files import BUILT_IN
from engine.plan.cards import Expert, Registry
from engine.plan.job import Request
from engine.plan.memory import condensed
from engine.plan.plan import make_plan
from engine.weights import conversion
from tests.benchmarks.figures import Figure, clock

DOCS = Path(__file__).parents[2] / "docs" / "evaluation"
TESTS = Path(__file__).parents[1]
BASE = "smollm2-135m-instruct"
LENGTH = 220  # tokens that the window keeps for the answer
OPTIONS = argparse.ArgumentParser(prog="python -m tests.benchmarks notes", description=__doc__)
OPTIONS.add_argument("--home", type=Path, help="a PASTICHE_HOME that has the base (a new one)")
OPTIONS.add_argument("--other", action="store_true", help="the cases that wordings are chosen on")
OPTIONS.add_argument("--note", help="how a note is worded, with {note} (as on the card)")
OPTIONS.add_argument("--window", type=int, default=0, help="tokens (as the base has)")
OPTIONS.add_argument(
    "--without", action="store_true", help="read each prompt without the note, too"
)
OPTIONS.add_argument("--skip", type=int, default=0, help="so many cases first (0)")
OPTIONS.add_argument("--most", type=int, default=0, help="cases (all)")
Case = dict[str, str]


def run(folder: Path, options: argparse.Namespace | None = None) -> list[Figure]:
    """Count the cases in which the noted name is the likeliest of the four."""
    import torch

    options = options or OPTIONS.parse_args([])
    torch.set_num_threads(1)
    models = (options.home or folder) / "models"
    conversion.prepare(BASE, models)
    with (DOCS / "notes.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    cases = [row for row in rows if (row["set"] == "other") == options.other]
    won: list[list[bool]] = []
    with clock() as taken:
        for case in cases[options.skip :][: options.most or None]:
            won.append(_firsts(case, models, options))
            print(case["expert"], case["names"], *won[-1], flush=True)
    shares = [100 * sum(side) / len(won) for side in zip(*won, strict=True)]
    asked = ("with the note", "90"), ("without it", "25 by chance")
    return [
        Figure(name=f"noted name likeliest of 4, {len(won)} cases, {what}", value=share, unit="%",
               against=aim, wall_seconds=taken.wall, cpu_seconds=taken.cpu)
        for share, (what, aim) in zip(shares, asked, strict=False)
    ]  # fmt: skip


def _firsts(case: Case, models: Path, options: argparse.Namespace) -> list[bool]:
    """Whether the noted name comes out first, with the note and perhaps without it."""
    registry = Registry.load([BUILT_IN], "embedded")
    expert = registry[case["expert"]]
    if options.note:
        expert = replace(expert, template=replace(expert.template, note=f"{options.note}\n"))
    names = case["names"].split(", ")
    model, tokenizer, window = _served(expert, registry, models)
    firsts = []
    for notes in ((case["note"],), ())[: 1 + options.without]:
        prompt = _prompt(case, expert, notes, tokenizer, options.window or window)
        scores = _scores(model, tokenizer, prompt, names)
        firsts.append(max(names, key=scores.__getitem__) == names[0])
    return firsts


_SERVED: dict[str, Any] = {}


def _served(expert: Expert, registry: Registry, models: Path) -> tuple[Any, Any, int]:
    from peft import PeftModel

    if not _SERVED:
        _SERVED["base"] = load_base(BASE, models)
    loaded, weights = _SERVED["base"], registry.weights(expert)
    if expert.name not in _SERVED:
        if isinstance(loaded.model, PeftModel):
            loaded.model.load_adapter(weights.adapter, expert.name)
        else:
            loaded.model = PeftModel.from_pretrained(loaded.model, weights.adapter, expert.name)
        _SERVED[expert.name] = True
    loaded.model.set_adapter(expert.name)
    return loaded.model.eval(), loaded.tokenizer, loaded.window


def _prompt(
    case: Case, expert: Expert, notes: tuple[str, ...], tokenizer: Any, window: int
) -> list[int]:
    """The tokens that the expert is given when somebody goes on with the words that ask."""
    story = " ".join(
        path.read_text(encoding="utf-8") for path in sorted(TESTS.glob("fiction_*.txt"))
    )
    story = join(" ".join(story.split()), case["ask"])
    ahead, wish = recent(story), f"a story in the style of {expert.name}: {story[:80]}"
    request = Request(
        command="story", text=wish, platform="terminal", asker="a", place="p", beginning=ahead,
        notes=notes, synopsis=condensed("", story.removesuffix(ahead), ahead), length=LENGTH,
    )  # fmt: skip
    cards = Registry(experts=(expert,), profile="embedded")
    ids, _ = prompt_ids(make_plan(request, cards, LENGTH).job, tokenizer, window)
    return ids


def _scores(
    model: Any, tokenizer: Any, prompt: list[int], names: Sequence[str]
) -> dict[str, float]:
    """The log-probability of each name, all its tokens, after the prompt; which is read once."""
    import torch

    with torch.inference_mode():
        read = model(torch.tensor([prompt]), use_cache=True, logits_to_keep=1)
        cache, found = read.past_key_values, {}
        for name in names:
            ids = tokenizer(f" {name}", add_special_tokens=False).input_ids
            logits = [read.logits[0, -1]]
            if ids[1:]:
                more = model(torch.tensor([ids[:-1]]), past_key_values=cache, use_cache=True)
                logits += list(more.logits[0])
                cache.crop(1 - len(ids))
            found[name] = sum(
                float(torch.log_softmax(row.float(), -1)[token])
                for row, token in zip(logits, ids, strict=True)
            )
    return found
