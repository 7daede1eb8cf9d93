"""What is allowed in an experiment's file but likely not meant, or cannot run here. Pure."""

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from engine.plan.cards import Registry
from engine.study.design.experiment_file import near
from engine.study.experiments.experiment import Experiment
from engine.study.experiments.passages import shipped

CANNOT = "cannot run: "  # begins a warning of what no run survives


def _pool_warnings(experiment: Experiment) -> Iterator[str]:
    """Warn of a shipped pool that is too small; what was added to the study is not seen here."""
    drawn = [step.count for step in experiment.steps if step.kind == "guess" and not step.stimuli]
    for expert in {arm.expert for arm in experiment.arms} or {""}:
        kinds = Counter(item.kind for item in shipped() if expert in ("", item.expert))
        if min(kinds["real"], kinds["generated"]) < sum(drawn):
            who = f" of {expert}" if expert else ""
            yield (
                f"exposures: {sum(drawn)} guesses, and the shipped pool{who} has "
                f"{kinds['real']} real and {kinds['generated']} generated passages; add more of them."
            )


def not_italian(value: Any, where: str = "") -> Iterator[str]:
    """Name the words that are there in English only.

    >>> asked = {"id": "liked", "low": "no", "low_it": ""}
    >>> list(not_italian({"title": "Who?", "title_it": "", "after": [asked]}))
    ['title_it', 'after.liked.low_it']
    """
    parts = dict(value) if isinstance(value, dict) else {}
    if isinstance(value, list | tuple):
        parts = {one.get("id", n): one for n, one in enumerate(value, 1) if isinstance(one, dict)}
    for name, one in parts.items():
        if str(name).endswith("_it") and not one and value.get(name[:-3]):
            yield f"{where}{name}"
        yield from not_italian(one, f"{where}{name}.")


def overlaps(experiments: Sequence[Experiment]) -> Iterator[str]:
    """Name pairs that would take in the same requests: a person finishes the one that came first."""
    for one, other in itertools.combinations(experiments, 2):
        lists = ("platforms", "locales", "languages", "commands", "experts")
        both = ((getattr(each.eligible, name) for each in (one, other)) for name in lists)
        apart = any(a and b and not set(a) & set(b) for a, b in both)
        meet = one.start <= other.stop and other.start <= one.stop
        same = one.task == other.task and bool(one.annotators) == bool(other.annotators)
        if same and meet and not apart:
            yield f"{one.id} and {other.id} overlap: nobody is in both at a time, {one.id} goes first."


def warnings_of(experiment: Experiment, registry: Registry, now: float) -> list[str]:
    """Warn of what is allowed but likely not meant: missing models, dates gone by, few units."""
    found = []
    texts = [expert.name for expert in registry.experts]
    for arm in experiment.arms:
        if arm.expert and registry.named(arm.expert) is None:
            meant = near(arm.expert, texts)
            found.append(f"{CANNOT}arm {arm.name}: there is no expert {arm.expert} here.{meant}")
    if (wanted := experiment.eligible.experts) and not set(wanted) & set(texts):
        meant = near(wanted[0], texts)
        found.append(f"{CANNOT}eligible.experts: {', '.join(wanted)} is not here.{meant}")
    found += _pool_warnings(experiment)
    for command in experiment.eligible.commands:
        if command not in registry.commands:
            found.append(f"eligible.commands: no expert answers /{command} here.")
    words = list(not_italian(experiment.model_dump()))
    locales = experiment.eligible.locales
    if words and (not locales or any(one.startswith("it") for one in locales)):
        found.append(f"In Italian are missing, and are said in English: {', '.join(words)}.")
    if not experiment.runs(now):
        found.append(f"It does not run today: {experiment.start} to {experiment.stop}.")
    if experiment.allocation == "simple" and experiment.max_n < 200:
        found.append("allocation: with so few units, blocks keep the arms even; simple does not.")
    if not experiment.preregistration:
        found.append("preregistration: none is named.")
    if not experiment.debrief and not experiment.annotators:
        found.append("debrief: people are told that chance decided among the arms, and no more.")
    trials = sum(step.count for step in experiment.steps if step.trials and not step.practice)
    if experiment.exclude.fewer_exposures > trials:
        found.append(
            "exclude.fewer_exposures: more than exposures, so whoever finishes is left out."
        )
    alike = {arm.model_dump_json(exclude={"name", "weight"}) for arm in experiment.arms}
    if len(alike) < len(experiment.arms):
        found.append("arms: two of them are the same but for their names.")
    return found
