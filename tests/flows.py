"""A study with a flow through every kind of step, its stimuli, and somebody who goes through it."""

import json
from pathlib import Path

from studied import make_study
from talking import pressed, told, unhurried

from bot.messages.buttons import Press, Verb
from bot.service.request import Reply, Who
from bot.service.service import ChatService
from engine.study.experiments.passages import Item

FLOW = """id = "tell"
title = "Who wrote this?"
hypothesis = "The expert is preferred, and cannot be told."
task = "flow"
start = 2020-01-01
stop = 2099-12-31
max_n = 50
seen_by = 20
completion_code = true
return_link = "https://panel.example/done?cc={code}&who={panel}"

[exclude]
failed_checks = 1

[quota]
question = "reads"
most = { often = 2, never = 10 }

[[step]]
kind = "consent"

[[step]]
kind = "questions"
id = "before"

[[step.questions]]
id = "reads"
text = "How often do you read stories?"
kind = "choice"
choices = ["often", "never"]
required = true

[[step.questions]]
id = "which"
text = "Which do you read?"
kind = "multiple"
choices = ["Poe", "Doyle", "Austen"]
when = { reads = ["often"] }

[[step.questions]]
id = "age"
text = "How old are you?"
kind = "number"
minimum = 18
maximum = 120

[[step]]
kind = "guess"
id = "practice"
practice = true
stimuli = "training"

[[step]]
kind = "compare"
id = "pairs"
count = 2
stimuli = "manner"

[[step]]
kind = "guess"
id = "tell"
count = 2
stimuli = "manner"
block = "judge"

[[step]]
kind = "rate"
id = "rate"
stimuli = "manner"
block = "judge"

[[step.questions]]
id = "good"
text = "How good is it?"
low = "not at all"
high = "very"

[[step.questions]]
id = "check"
text = "Please choose 2."
check = "2"

[[step]]
kind = "questions"
id = "last"

[[step.questions]]
id = "remarks"
text = "Anything else?"
kind = "text"

[[step]]
kind = "debrief"
"""


def pool(name: str, count: int) -> list[Item]:
    """Stimuli in two arms, a person's and a model's."""
    return [
        Item(
            kind="real" if arm == "person" else "generated",
            expert="lovecraft",
            text=f"{name} {number} by the {arm}. "
            + "It rained on the harbour, and nobody came. " * 4,
            source="made for a test",
            licence="public domain",
            pool=name,
            stimulus=f"s{number}",
            arm=arm,
        )
        for number in range(count)
        for arm in ("person", "model")
    ]


def pool_text(items: list[Item]) -> str:
    return "\n".join(
        "[[item]]\n" + "".join(f"{k} = {json.dumps(v)}\n" for k, v in item.model_dump().items())
        for item in items
    )


def make_flow(home: Path, text: str = FLOW) -> Path:
    """The study with its flow and two pools; its folder."""
    folder = make_study(home)
    for name in ("experiments", "stimuli"):
        (folder / name).mkdir(exist_ok=True)
    (folder / "experiments" / "tell.toml").write_text(text)
    for name, count in (("training", 1), ("manner", 6)):
        (folder / "stimuli" / f"{name}.items.toml").write_text(pool_text(pool(name, count)))
    return folder


def buttons(said: Reply) -> dict[str, Press]:
    return {b.press.argument: b.press for row in said.choices for b in row}


def labelled(said: Reply, label: str) -> Press:
    return next(b.press for row in said.choices for b in row if label in b.label)


async def press(talk: ChatService, button: Press, who: Who) -> Reply:
    unhurried(talk)
    [said] = await pressed(talk, button, who)
    await talk.arrived(said.receipt)
    return said


async def say(talk: ChatService, text: str, who: Who) -> Reply:
    unhurried(talk)
    *_, said = await told(talk, text, who)
    assert isinstance(said, Reply), said
    await talk.arrived(said.receipt)
    return said


async def judged(talk: ChatService, said: Reply, who: Who) -> Reply:
    """Judge whatever is shown, and go on; what comes then."""
    every = buttons(said)
    verbs = {p.verb for p in every.values()}
    if Verb.VOTE in verbs:
        said = await press(talk, every["a"], who)
        said = await press(talk, buttons(said)["reveal"], who)
    elif Verb.GUESS in verbs:
        said = await press(talk, every["real"], who)
        said = await press(talk, buttons(said)["real.5"], who)
    else:
        return await press(talk, labelled(said, "2"), who)
    return await press(talk, labelled(said, "Go on"), who)
