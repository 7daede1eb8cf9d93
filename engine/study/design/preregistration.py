"""The preregistration of an experiment: design and analysis in one document, dated and hashed. Pure."""

import datetime
from collections.abc import Iterable, Mapping
from importlib.metadata import version

from engine.study.design.experiment_file import version_of
from engine.study.experiments.experiment import Experiment
from engine.study.experiments.steps import Step

PAIRS = (
    "Of the pairs that were decided, the share won by the treated arm (the one that is not plain, else "
    "the first in the file; of stimuli what was generated, with its adapter), ties and “both bad” left "
    "out, against one half."
)
GUESSES = "d′ of real and generated, with the log-linear correction, and c; d′ against zero."
ANSWERS = (
    "Share of thumbs up and mean rating by arm, and differences of arms, the treated one first."
)
RATINGS = "Agreement of those who rate the same, by question: Krippendorff's alpha. No test by arm."
ERRORS = (
    "Intervals of 95 % by drawing whole people anew, 1,000 times; `analysis.py` and `analysis.R` of the "
    "export give the same with errors clustered by person. Units that the rules of exclusion mark are "
    "left out, for speed, self-naming and failed checks of those only who came to the end; of "
    "comparisons and guesses the report has the result for everybody beside it."
)


def document(
    experiment: Experiment, text: str, digests: Mapping[str, str], power: str, now: float
) -> str:
    """Write it; `digests` are of what is used beside the file, by name."""
    when = f"{datetime.datetime.fromtimestamp(now, datetime.UTC):%Y-%m-%d %H:%M:%S}"
    hashes = {"the experiment's file": version_of(text), **digests}
    kinds = {step.kind for step in experiment.steps if step.trials and not step.practice}
    planned = {"compare": PAIRS, "guess": GUESSES, "single": ANSWERS, "rate": RATINGS}
    tests = [words for kind, words in planned.items() if kind in kinds]
    stop = [
        f"from {experiment.start} to {experiment.stop}",
        f"at most {experiment.max_n} units",
        *([f"{experiment.completes} who come to the end"] if experiment.completes else []),
        *([f"each stimulus judged by {experiment.seen_by}"] if experiment.seen_by else []),
        *(
            f"{most} of “{name}”"
            for name, most in (experiment.quota.most if experiment.quota else {}).items()
        ),
    ]
    rules = experiment.exclude.model_dump(exclude_defaults=True)
    sections = {
        "Hypothesis": experiment.hypothesis,
        "Arms": ", ".join(f"{arm} ({weight})" for arm, weight in experiment.weights.items()),
        "What one person does": _listed(_told(step) for step in experiment.steps),
        "When it ends": _listed(stop),
        "Who is left out": _listed(f"{name} = {value}" for name, value in rules.items())
        or "Nobody.",
        "Primary analysis": "\n\n".join([*tests, ERRORS]),
        "Power": power or "Not reckoned.",
        "Digests (SHA-256)": _listed(f"{name}: `{digest}`" for name, digest in hashes.items()),
        "The experiment's file": f"```toml\n{text.strip()}\n```",
    }
    head = f"# Preregistration: {experiment.title}\n\nWritten on {when} UTC"
    head += f" by pastiche {version('pastiche')}."
    return (
        "\n\n".join([head, *(f"## {name}\n\n{words}" for name, words in sections.items())]) + "\n"
    )


def _told(step: Step) -> str:
    what = f"{step.count} × {step.kind}" if step.trials else step.kind
    more = [
        f"stimuli {step.stimuli}" if step.stimuli else "",
        "practice, not scored" if step.practice else "",
        f"in keyed order within {step.block}" if step.block else "",
        ", ".join(question.id for question in step.questions),
        "; ".join(f"only if {name} is {' or '.join(said)}" for name, said in step.when.items()),
    ]
    return ": ".join(part for part in (what, "; ".join(filter(None, more))) if part)


def _listed(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)
