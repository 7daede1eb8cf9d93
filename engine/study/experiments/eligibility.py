"""Who fits an experiment, what of them is allocated, and what its arm changes. Pure."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass

from engine.plan.job import Spot, Treatment
from engine.study.experiments.experiment import Arm, Experiment
from engine.study.pseudonyms import keyed

CODE = 8  # characters of a completion code


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """Hold what decides on whether a request is taken in; `unit` names the request."""

    task: str
    command: str = ""
    expert: str = ""
    language: str = "en"
    unit: str = ""
    invited: bool = False  # to rate, as an annotator


def takes(experiment: Experiment, spot: Spot, asking: Candidate, age: int) -> bool:
    """Tell whether it takes this request; everybody who takes part has said to have reached `age`."""
    wanted = experiment.eligible
    checks: Mapping[str, tuple[tuple[str, ...], str]] = {
        "platform": (wanted.platforms, spot.platform),
        "locale": (wanted.locales, spot.locale.replace("_", "-").split("-")[0].lower()),
        "language": (wanted.languages, asking.language),
        "command": (wanted.commands, asking.command),
        "expert": (wanted.experts, asking.expert),
    }
    if asking.task in ("guess", "flow"):
        checks = {name: checks[name] for name in ("platform", "locale")}
    fits = all(not allowed or value in allowed for allowed, value in checks.values())
    fits = fits and bool(experiment.annotators) == asking.invited
    return experiment.task == asking.task and fits and age >= wanted.minimum_age


def completion_code(key: bytes, experiment: str, unit: str) -> str:
    """Make what a panel pays for: the same for the same person, and nobody can without the key."""
    digest = bytes.fromhex(keyed(key, f"completion|{experiment}|{unit}"))
    return base64.b32encode(digest).decode()[:CODE]


def treatment_of(arm: Arm, experiment: Experiment | None, exposure: str = "") -> Treatment:
    return Treatment(
        experiment=experiment.id if experiment else "",
        arm=arm.name,
        expert=arm.expert,
        plain=arm.plain,
        sampling=tuple(sorted(arm.sampling.items())),
        template=arm.template,
        router=arm.router,
        blind=experiment.blind if experiment else True,
        exposure=exposure,
    )
