"""What is allowed in an experiment's file but likely not meant, or cannot run here. Pure."""

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from engine.plan.cards import Registry
from engine.plan.treatment import PICTURE_VALUES, TEXT_VALUES
from engine.study.design.experiment_file import near
from engine.study.experiments.experiment import Experiment
from engine.study.experiments.passages import shipped

CANNOT = "cannot run: "  # begins a warning of what no run survives


def _pool_warnings(experiment: Experiment) -> Iterator[str]:
    """Warn of a shipped pool that is too small; what was added to the study is not seen here."""
    drawn = sum(s.count for s in experiment.steps if s.kind == "guess" and not s.stimuli)
    for expert in {arm.expert for arm in experiment.arms} or {""}:
        kinds = Counter(item.kind for item in shipped() if expert in ("", item.expert))
        if min(kinds["real"], kinds["generated"]) < drawn:
            who = f" of {expert}" if expert else ""
            yield (
                f"exposures: {drawn} guesses, and the shipped pool{who} has {kinds['real']} real and "
                f"{kinds['generated']} generated passages; add more of them (pastiche study items add)."
            )


def _route_warnings(experiment: Experiment, registry: Registry) -> Iterator[str]:
    """Warn of what is not here, and of arms that no request is for."""
    names, eligible = [expert.name for expert in registry.experts], experiment.eligible
    wanted = set(eligible.experts) & set(names)
    given = [("eligible.experts", name, not wanted) for name in eligible.experts]
    arms = [(f"arm {arm.name}", arm.expert, True) for arm in experiment.arms if arm.expert]
    for where, name, needed in (*arms, *given):
        if name not in names:
            yield f"{CANNOT * needed}{where}: there is no expert {name} here.{near(name, names)}"
    for command in eligible.commands:
        if command not in registry.commands:
            yield f"eligible.commands: no expert answers /{command} here."
    if all(step.stimuli or step.kind not in ("single", "compare") for step in experiment.steps):
        return  # nobody's own request is answered
    flow = experiment.task == "flow"  # which takes in whatever is asked in it
    commands, experts = eligible.commands or registry.commands, wanted or names
    taken = [e for e in registry.experts if flow or (e.command in commands and e.name in experts)]
    of = {name: registry[name] for _, name, _ in arms if name in names}
    asked = {expert.command for expert in of.values()}
    if not taken or len(asked) > 1 or not asked <= {expert.command for expert in taken}:
        told = "".join(f"; {name} answers /{expert.command}" for name, expert in of.items())
        yield f"{CANNOT}eligible takes in no request that all arms can answer{told}."
    for arm in experiment.arms:
        media = {e.medium for e in ([of[arm.expert]] if arm.expert in of else taken)}
        works = {n for m in media for n in (PICTURE_VALUES if m == "image" else TEXT_VALUES)}
        if idle := ", ".join(name for name in arm.sampling if name not in works):
            yield f"arm {arm.name}: {idle} changes nothing in what is answered there."


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


def warnings_of(
    experiment: Experiment, registry: Registry, now: float, age: int | None = None
) -> list[str]:
    """Warn of what is allowed but likely not meant; `age` is the study's lowest, if that is known."""
    found = [*_route_warnings(experiment, registry), *_pool_warnings(experiment)]
    words = list(not_italian(experiment.model_dump()))
    eligible = experiment.eligible
    italian = not eligible.locales or any(one.startswith("it") for one in eligible.locales)
    trials = sum(step.count for step in experiment.steps if step.trials and not step.practice)
    alike = {arm.model_dump_json(exclude={"name", "weight"}) for arm in experiment.arms}
    oldest, few = eligible.minimum_age, experiment.allocation == "simple" and experiment.max_n < 200
    notes = {
        f"{CANNOT * bool(age)}eligible.minimum_age: nobody is taken in, unless study.toml asks for "
        f"minimum_age = {oldest}, too.": oldest > (age or 18),
        f"In Italian are missing, and are said in English: {', '.join(words)}.": words and italian,
        f"It does not run today: {experiment.start} to {experiment.stop}.": not experiment.runs(
            now
        ),
        "allocation: with so few units, blocks keep the arms even; simple does not.": few,
        "preregistration: none is named.": not experiment.preregistration,
        "debrief: people are told that chance decided among the arms, and no more.": not (
            experiment.debrief or experiment.annotators
        ),
        "exclude.fewer_exposures: more than exposures, so whoever finishes is left out.": (
            experiment.exclude.fewer_exposures > trials
        ),
        "arms: two of them are the same but for their names.": len(alike) < len(experiment.arms),
    }
    return [*found, *(note for note, holds in notes.items() if holds)]
