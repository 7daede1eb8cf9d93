"""The plan of a request, made once, then accepted: who answers it and why, and the job of it."""

import random
from dataclasses import dataclass, replace

from ulid import ULID

from engine.errors import CommandError, LimitError
from engine.plan.cards import Expert, Registry, Template
from engine.plan.job import Job, Request
from engine.plan.memory import told
from engine.plan.picture import Drawing, Order, caption, order
from engine.plan.prompt import assemble
from engine.plan.route import Route
from engine.plan.router import route
from engine.plan.semantic import Semantic
from engine.plan.treatment import redrawn, rerouted, treated

MIN_LENGTH = 16  # tokens; less is no answer
MAX_SEED = 2**31 - 4  # the fourth picture's is kept in 32 bits, too


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`expert` is the card that the job was made from, an arm's changes in it."""

    request: Request
    route: Route
    expert: Expert
    job: Job


def make_plan(
    request: Request,
    registry: Registry,
    max_length: int,
    job: str = "",
    semantic: Semantic | None = None,
) -> Plan:
    treatment = request.treatment
    step = None if treatment is not None and treatment.router == "keywords" else semantic
    free = request.free and treatment is None
    chosen = route(request.command, request.text, request.style, registry, step, free=free)
    expert = registry[chosen.expert]
    request = replace(request, command=expert.command)
    if treatment is not None:
        chosen = rerouted(chosen, treatment, request.command, registry)
        expert = treated(registry[chosen.expert], treatment)
    if expert.medium == "image":
        drawn = _order(request, registry.drawing(expert))
        prompt, length = caption(registry.drawing(expert), request.text), 0
        head, recalled, noted = len(prompt), "", ""
    else:
        drawn, length = None, _length(request, expert, max_length)
        prompt, head, recalled, noted = _prompt(expert.template, request)
    made = Job(
        id=job or str(ULID()),
        request=str(ULID()),
        expert=expert.name,
        medium=expert.medium,
        prompt=prompt,
        head=head,
        recalled=len(recalled),
        noted=len(noted),
        length=length,
        seed=_seed(request.seed),
        sampling=expert.sampling,
        order=drawn,
        plain=treatment is not None and treatment.plain,
    )
    return Plan(request=request, route=chosen, expert=expert, job=made)


def _prompt(template: Template, request: Request) -> tuple[str, int, str, str]:
    """Give the prompt, the length of its head, and what is recalled and noted behind that."""
    prompt, head = assemble(template.text, request.text, request.beginning)
    recalled, noted = told(template.note, request.synopsis, request.notes)
    return prompt[:head] + recalled + noted + prompt[head:], head, recalled, noted


def _length(request: Request, expert: Expert, longest: int) -> int:
    if (request.size, request.count, request.negative, request.scale) != (None,) * 4:
        raise CommandError(
            f"--size, --count, --negative and --scale are for pictures, not for /{request.command}."
        )
    wanted, usual = request.length, expert.sampling.length
    length = min(usual, longest) if wanted is None else wanted
    if not MIN_LENGTH <= length <= longest:
        raise LimitError(
            f"The length must be between {MIN_LENGTH} and {longest} tokens "
            "(a token is about three quarters of a word)."
        )
    return length


def _order(request: Request, card: Drawing) -> Order:
    if request.length is not None:
        raise CommandError("--length is for texts; for pictures there are --size and --count.")
    asked = order(
        card, size=request.size, count=request.count, negative=request.negative, scale=request.scale
    )
    return redrawn(asked, request.treatment) if request.treatment else asked


def _seed(wanted: int | None) -> int:
    if wanted is None:
        return random.randrange(MAX_SEED)
    if not 0 <= wanted <= MAX_SEED:
        raise LimitError(f"The seed must be between 0 and {MAX_SEED}.")
    return wanted
