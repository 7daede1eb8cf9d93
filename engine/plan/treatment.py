"""What an experiment's arm changes in a request, on its way to the job. Pure. The router decides first
all the same, so that its decision is on record beside the arm's."""

from dataclasses import fields, replace
from typing import TYPE_CHECKING

from engine.errors import CommandError
from engine.plan.cards import Expert, Registry, Sampling
from engine.plan.route import Candidate, Route

if TYPE_CHECKING:
    from engine.plan.job import Treatment
    from engine.plan.picture import Order

ARM = "arm"  # a route's rule is "arm:" and the router's own where a blinded experiment had its say
TEXT_VALUES = tuple(field.name for field in fields(Sampling) if field.name != "length")
PICTURE_VALUES = ("steps", "guidance", "scale", "speed")
_WHOLE = ("steps", "top_k", "repetition_last_n", "dry_allowed_length")


def rerouted(chosen: Route, treatment: "Treatment", command: str, registry: Registry) -> Route:
    """Let the arm override the router, whose choice is a runner-up then. Raises CommandError."""
    names, named = [expert.name for expert in registry.of_command(command)], treatment.expert
    if treatment.router == "default" and not named:
        named = names[0]
    if named and named not in names:
        raise CommandError(f"No expert {named!r} answers /{command} here.")
    others = chosen.runners_up
    if named and named != chosen.expert:
        own = Candidate(expert=chosen.expert, matches=chosen.evidence)
        others = (own, *(other for other in others if other.expert != named))
    rule = f"{ARM}:{chosen.rule}" if treatment.blind else chosen.rule
    return replace(chosen, expert=named or chosen.expert, rule=rule, runners_up=others)


def treated(expert: Expert, treatment: "Treatment") -> Expert:
    values = {n: _number(n, v) for n, v in treatment.sampling if n in TEXT_VALUES}
    sampling = replace(expert.sampling, **values)  # type: ignore[arg-type]
    template = replace(expert.template, text=treatment.template or expert.template.text)
    return replace(expert, sampling=sampling, template=template)


def redrawn(order: "Order", treatment: "Treatment") -> "Order":
    values = {n: _number(n, v) for n, v in treatment.sampling if n in PICTURE_VALUES}
    return replace(order, **values)  # type: ignore[arg-type]


def _number(name: str, value: float) -> float | int:
    return int(value) if name in _WHOLE else value
