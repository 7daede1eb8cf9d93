"""The model card of a published adapter, written from the recipe and the run's record. Pure."""

from typing import Any

from training.run.expert_card import facts_lines
from training.run.recipe import Recipe, placeless

GEMMA_NOTICE = (
    "Gemma is provided under and subject to the Gemma Terms of Use found at "
    "ai.google.dev/gemma/terms\n"
)
GEMMA_WORDS = (
    "This adapter is a Model Derivative of Gemma. Whoever hands it on hands on the Gemma Terms of "
    "Use and the NOTICE file with it, binds the receiver to the use restrictions of section 3.2, "
    "and says which files were changed."
)
US_ONLY = (
    "The texts this adapter learnt from are free in the **United States only**. Elsewhere they may "
    "still be in copyright: ask whoever holds it before using the adapter there."
)


def is_gemma(recipe: Recipe) -> bool:
    return "gemma" in recipe.base.id.lower()


def model_card(recipe: Recipe, record: dict[str, Any], digest: str) -> str:
    base, held = placeless(recipe.base.id), recipe.rights
    gemma = GEMMA_WORDS if is_gemma(recipe) else ""
    trained = record.get("stages", {}).get("train_text", {})
    parts = [
        f"---\nbase_model: {base}\nlibrary_name: peft\ntags: [lora, text-generation]\n---",
        f"# {recipe.expert.title or recipe.expert.name}: a LoRA adapter",
        recipe.run.about or f"Writes in the manner of {recipe.expert.title or recipe.expert.name}.",
        facts_lines(recipe, trained, "", digest),
        "## What it learnt from",
        learnt_from(recipe, record),
        "## Rights",
        held.words("Texts", US_ONLY if held.territories == ("US",) else held.where(), gemma),
        "## How it was made",
        how(recipe, trained),
        "## How well it does",
        figures(recipe.expert.name, record.get("stages", {}).get("evaluate_text", {})),
        "## Limits",
        limits(recipe),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def learnt_from(recipe: Recipe, record: dict[str, Any]) -> str:
    corpus = record.get("stages", {}).get("corpus", {})
    split = corpus.get("splits", {}).get("train", {})
    lines = [f"{recipe.source.edition or 'The source that the recipe names'}."]
    if split:
        lines.append(f"Training: {split['works']} works, {split['tokens']:,} tokens.")
    for reason, count in sorted(corpus.get("dropped", {}).items()):
        lines.append(f"Left out, {reason}: {count}.")
    if "data_root" in corpus:
        lines.append(f"Data root: {corpus['data_root']}.")
    return " ".join(lines)


def how(recipe: Recipe, done: dict[str, Any]) -> str:
    training = recipe.training
    line = (
        f"{training.method}, {training.precision}, {training.optimiser}, learning rate "
        f"{training.learning_rate:g} ({training.schedule}), batch {training.batch} x "
        f"{training.accumulate}, blocks of {recipe.corpus.block}, seed {recipe.run.seed}."
    )
    if not done:
        return line
    loss = done["held_out_loss"]
    held_out = "nothing was held out" if loss is None else f"held-out loss {loss:.3f}"
    return (
        f"{line} {done['blocks']} blocks in {done['steps']} steps and "
        f"{done['seconds'] / 60:.0f} minutes on {done['device']}; the adapter is that of step "
        f"{done['best_step']}, {held_out}."
    )


def figures(name: str, measured: dict[str, Any]) -> str:
    if not measured:
        return "Not measured yet: run `python -m training.evaluate_text`."
    lines = [
        f"- perplexity of {model} on its held-out text: {cell['perplexity']:.2f} "
        f"({cell['bits_per_byte']:.3f} bits a byte)"
        for model, cell in measured["matrix"].items()
    ]
    if measured.get("style"):
        own, base = (measured["style"][writer][name] for writer in (name, "base"))
        lines.append(
            f"- samples assigned to it by the style classifier: {own:.0%} "
            f"(base {base:.0%}, real text {measured['style_ceiling']:.0%})"
        )
    run = measured["memory"]["samples"]
    lines.append(
        f"- longest verbatim run in {measured['samples']} samples: {run['longest_p95']} tokens "
        f"(95th percentile), {run['longest']} at most"
    )
    return "\n".join(lines)


def limits(recipe: Recipe) -> str:
    dropped = ", though paragraphs with racial slurs were left out"
    label = recipe.expert.label
    return (
        "It imitates a manner; it knows no facts, and what it writes about real people or events "
        "is made up. It can repeat prejudices of its sources"
        f"{dropped if recipe.corpus.drop_slurs else ''}. Say openly that its texts are machine-made."
        + (f" Show this line with each: “{label}”." if label else "")
    )
