"""Make a pool of stimuli ahead: every prompt in every arm, matched in length and surface.

A plan lists `[[arms]]` as an experiment does and `[[stimulus]]` with `id`, `prompt` and `seed`; one that
has a person's version too gives it as `text` (or `picture`, a PNG beside the plan) with `source` and
`licence`. Each arm writes `tries` versions from seeds in a row; of the harmless ones that is kept which
is nearest to the person's, else to the first arm's. `POOL.items.toml` is written beside `POOL.toml`,
with what came of the match.
"""

import argparse
import asyncio
import hashlib
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bot.messages.grammar import Generate, parse
from bot.service.request import Who, request_of
from engine import Engine
from engine.errors import CommandError
from engine.events import Finished
from engine.process.bootstrap import ReconnectingEngine
from engine.settings import Settings
from engine.study.experiments.eligibility import treatment_of
from engine.study.experiments.experiment import Arm
from engine.study.experiments.passages import SHORTEST, Item
from engine.study.experiments.stimuli import ITEMS, digest_of
from engine.study.study import mistake
from tests.benchmarks.figures import Figure
from tests.benchmarks.passage_pool import finished, harmless, written
from tests.benchmarks.sentences import sentences_of
from tests.benchmarks.surface import MARKS, features

PERSON = "person"  # the arm of a person's version
LONGEST = 1400  # characters
NAMES = ("words", "letters a word", "words a sentence", "capitals", *MARKS)


class Stimulus(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]
    prompt: Annotated[str, Field(min_length=3, max_length=2000)]
    seed: int = 1
    text: str = ""
    picture: str = ""
    expert: str = ""
    source: str = ""
    licence: str = ""


class Plan(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    arms: Annotated[tuple[Arm, ...], Field(min_length=1)]
    stimulus: Annotated[tuple[Stimulus, ...], Field(min_length=1)]
    tries: Annotated[int, Field(ge=1, le=50)] = 4
    length: Annotated[int, Field(ge=40, le=400)] = 150


def read_plan(path: Path) -> Plan:
    """Raises CommandError with the first mistake."""
    try:
        return Plan.model_validate(tomllib.loads(path.read_text(encoding="utf-8-sig")))
    except (OSError, ValueError) as error:
        why = mistake(error) if isinstance(error, ValidationError) else error
        raise CommandError(f"{path}: {why}") from None


def whole(text: str) -> str:
    """Cut to whole sentences that fit; empty if that leaves too little.

    >>> whole("It rained. And then")
    ''
    """
    kept = ""
    for sentence in sentences_of(text):
        if len(kept) + len(sentence) + 1 > LONGEST:
            break
        kept = f"{kept} {sentence}".strip()
    return kept if len(kept) >= SHORTEST else ""


async def made(
    core: Engine, plan: Plan, one: Stimulus, arm: Arm, seed: int
) -> tuple[Finished, str, str]:
    """Write one version; give the event, the text or nothing, and the expert. Raises CommandError."""
    command = parse(one.prompt, core.registry.commands)
    if not isinstance(command, Generate):
        raise CommandError(f"{one.id}: a prompt is a wish, such as /story or /news with a text.")
    who = Who(platform="study", asker="items", place=f"items {one.id}", alone=True)
    asked = await request_of(command, who, core)
    treatment = treatment_of(arm, None)
    asked = replace(asked, seed=seed, private=True, treatment=treatment)
    expert = core.plan(asked).expert
    if expert.medium == "text":
        asked = replace(asked, length=plan.length)
    event = await finished(core, asked, f"{one.id}, {arm.name}")
    text = whole(event.text)
    return event, text if text and await harmless(text) else "", expert.name


def nearest(texts: Sequence[str], like: str, spread: np.ndarray) -> int:
    """Say which text is nearest to one in length and surface."""
    apart = [(np.array(features(text)) - np.array(features(like))) / spread for text in texts]
    return int(np.argmin([np.square(one).sum() for one in apart]))


async def versions(core: Engine, plan: Plan, one: Stimulus, folder: Path, pool: str) -> list[Item]:
    """Make every arm's version of one stimulus, the person's first. Raises CommandError."""
    found: list[Item] = []
    of = {"pool": pool, "stimulus": one.id}
    if one.text or one.picture:
        mine = {"kind": "real", "expert": one.expert, "source": one.source, "licence": one.licence}
        digest = stored(folder, (folder / one.picture).read_bytes()) if one.picture else ""
        found.append(
            Item.model_validate({**mine, **of, "text": one.text, "picture": digest, "arm": PERSON})
        )
    for arm in plan.arms:
        tries = [await made(core, plan, one, arm, one.seed + n) for n in range(plan.tries)]
        fit = [tried for tried in tries if tried[1] or tried[0].pictures]
        if not fit:
            raise CommandError(
                f"{one.id}, {arm.name}: none of {plan.tries} can be shown; raise tries."
            )
        texts = [text for _, text, _ in fit]
        spread = np.maximum(np.std([features(text) for text in texts], axis=0), 1.0)
        like = found[0].text if found else texts[0]
        event, text, expert = fit[nearest(texts, like, spread)]
        base, adapter = event.base_digest[:23], event.adapter_digest[:23] or "none"
        picture = stored(folder, event.pictures[0].data) if event.pictures else ""
        found.append(
            Item.model_validate(
                {
                    **of, "kind": "generated", "expert": expert, "arm": arm.name,
                    "text": "" if picture else text, "picture": picture,
                    "source": f"“{one.prompt[:120]}” (base {base}, adapter {adapter})",
                    "licence": "generated by this program",
                }
            )
        )  # fmt: skip
    return found


def stored(folder: Path, data: bytes) -> str:
    digest = hashlib.sha256(data).hexdigest()
    (folder / f"{digest}.png").write_bytes(data)
    return digest


def match(items: Sequence[Item]) -> Mapping[str, list[float]]:
    """Give by arm how far each feature's mean is from the first arm's, in standard deviations."""
    arms = list(dict.fromkeys(item.arm for item in items))
    table = {arm: np.array([features(i.text) for i in items if i.arm == arm]) for arm in arms}
    spread = np.maximum(np.concatenate(list(table.values())).std(axis=0), 1e-9)
    first = table[arms[0]].mean(axis=0)
    return {arm: ((rows.mean(axis=0) - first) / spread).tolist() for arm, rows in table.items()}


OPTIONS = argparse.ArgumentParser(prog="stimuli", description=__doc__)
OPTIONS.add_argument("plan", type=Path, help="POOL.toml, in the study's folder stimuli/")


def run(_folder: Path, options: argparse.Namespace | None = None) -> list[Figure]:
    """Raises CommandError."""
    if options is None:
        return []
    plan, path = read_plan(options.plan), options.plan.absolute()
    pool, out = path.stem, path.with_name(f"{path.stem}{ITEMS}")
    if out.exists():
        raise CommandError(f"{out} is there already; people may have met it. Delete it first.")
    items = asyncio.run(_all(plan, path.parent, pool))
    apart = match(items) if all(item.text for item in items) else {}
    lines = [
        f"# {arm}: "
        + ", ".join(f"{name} {value:+.2f}" for name, value in zip(NAMES, row, strict=True))
        for arm, row in apart.items()
    ]
    head = "# How far each arm is from the first, in standard deviations:\n" if lines else ""
    out.write_text(head + "\n".join(lines) + "\n\n" + written(items), encoding="utf-8")
    sys.stderr.write(
        f"{out}: {len(items)} items, SHA-256 {digest_of(items)}\n" + "\n".join(lines) + "\n"
    )
    worst = max((abs(value) for row in apart.values() for value in row), default=0.0)
    return [
        Figure(name="items", value=len(items), unit="", against=""),
        Figure(name="furthest apart in surface", value=worst, unit="SD", against="0.5"),
    ]


async def _all(plan: Plan, folder: Path, pool: str) -> list[Item]:
    async with ReconnectingEngine(Settings()) as core:
        found = []
        for number, one in enumerate(plan.stimulus, 1):
            found += await versions(core, plan, one, folder, pool)
            sys.stderr.write(f"{number} of {len(plan.stimulus)}\n")
        return found
