"""The ballot of a pair: its message, the votes on it with their reasons, and the reveal, which in an
experiment comes when its file says so: what is told after each pair teaches."""

import asyncio
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from bot.locales import words
from bot.messages.buttons import Press, Rows, Verb, button
from bot.messages.escape import defang
from bot.messages.split import joined
from bot.service.request import Reply, Who
from bot.study.blinding import fitted, scrubbed, side_by_side
from bot.study.pair import PAIR, Pair, Side, shown_item
from engine.errors import AskerError
from engine.events import Picture
from engine.plan.plan import Plan
from engine.study.experiments.experiment import Arm, Experiment

if TYPE_CHECKING:
    from bot.study.study_chat import StudyChat
    from engine.study.experiments.passages import Item

CHOICES = ("a", "b", "tie", "bad")
REASONS = ("style", "story", "language", "surprise", "other")


async def shown(chat: "StudyChat", pair: Pair) -> Reply:
    ask = "compare.ask" if pair.sides[0].job else "compare.ask_items"
    text, visible = message(pair, words(ask, pair.who.locale))
    if pair.kept:
        jobs = [side.job for side in pair.sides if side.job]
        await chat.context.services.study.exposures.compose(pair.id, pair.facts, jobs, visible)
    chat.questions.asks(pair.who, partial(again, chat, pair.id))
    pictures: tuple[Picture, ...] = ()
    left, right = (side.picture for side in pair.sides)
    if left is not None and right is not None:
        pictures = (await asyncio.to_thread(side_by_side, left, right, pair.id),)
    return Reply(
        text, rows=vote_rows(pair), pictures=pictures, literal=True, receipt=f"{PAIR}{pair.id}"
    )


async def again(chat: "StudyChat", name: str, who: Who) -> Reply:
    """Show a pair of a flow that is on record. Raises AskerError."""
    pair = chat.pairs.get(name) or await _recalled(chat, name, who)
    if pair is None:
        raise AskerError(words("compare.expired", who.locale))
    said = await shown(chat, pair)
    return replace(said, replaces=not said.pictures)


def message(
    pair: Pair, head: str, labels: tuple[str, str] = ("A", "B"), tail: str = ""
) -> tuple[str, dict[str, Any]]:
    ai = words("footer.ai", pair.who.locale)
    if pair.picture:
        key = "compare.pictures" if labels == ("A", "B") else "compare.told_pictures"
        told = words(key, pair.who.locale, a=labels[0], b=labels[1])
        visible = {"form": "picture side by side", "platform": pair.who.platform}
        return joined(head, told, tail, ai), visible
    one, two = (defang(side.text) for side in pair.sides)  # as read back, or made ahead
    return fitted(head, one, two, labels, joined(tail, ai), pair.who.platform)


def vote_rows(pair: Pair) -> Rows:
    locale = pair.who.locale

    def row(verb: Verb, names: tuple[str, ...], chosen: str) -> tuple[Any, ...]:
        marks = {name: "✓ " if name == chosen else "" for name in names}
        return tuple(
            button(verb, pair.id, name, label=mark + words(f"compare.{name}", locale))
            for name, mark in marks.items()
        )

    rows = [row(Verb.VOTE, CHOICES, pair.choice)]
    if pair.choice:
        rows.append(row(Verb.BECAUSE, REASONS, pair.reason))
        label = words("compare.done" if pair.blind else "compare.reveal", locale)
        rows.append((button(Verb.VOTE, pair.id, "reveal", label=label),))
    return tuple(rows)


async def voted(chat: "StudyChat", press: Press, who: Who) -> Reply:
    """Take a vote, a reason for it, or the wish for the reveal. Raises AskerError."""
    pair = chat.pairs.get(press.job) or await _recalled(chat, press.job, who)
    if pair is None:
        raise AskerError(words("compare.expired", who.locale))
    if pair.who.account != who.account:
        raise AskerError(words("compare.not_yours", who.locale))
    if pair.revealed:
        raise AskerError(words("compare.closed", who.locale))
    if press.verb is Verb.VOTE and press.argument in CHOICES:
        pair.reason = pair.reason if press.argument == pair.choice else ""
        pair.choice = press.argument
    elif press.verb is Verb.BECAUSE and press.argument in REASONS and pair.choice:
        pair.reason = press.argument
    elif not (press.argument == "reveal" and pair.choice):
        raise AskerError(words("compare.expired", who.locale))
    reveal = press.argument == "reveal"
    if pair.kept:
        await _count(chat, pair, who, reveal=reveal)
    pair.revealed = reveal
    if reveal:
        chat.questions.asks(who)
        return await _told(chat, pair, who)
    key = "compare.because" if pair.reason else "compare.chosen"
    key = f"{key}_blind" if pair.blind else key
    chosen = words(f"compare.{pair.choice}", who.locale)
    because = words(f"compare.{pair.reason}", who.locale) if pair.reason else ""
    head = words(key, who.locale, choice=chosen, reason=because)
    text, _ = message(pair, head)
    return Reply(text, rows=vote_rows(pair), replaces=True, literal=True, caption=pair.picture)


async def _count(chat: "StudyChat", pair: Pair, who: Who, *, reveal: bool) -> None:
    """Write the vote down, while the consent is live; after a withdrawal nothing more is written."""
    person = await chat.context.services.participant(who)
    if person is None:
        return
    exposures = chat.context.services.study.exposures
    await exposures.delivered(pair.id)  # whoever presses has it before them
    unblinded = any(side.named for side in pair.sides)
    facts = {"unblinded": unblinded, "reveal": reveal, "practice": pair.practice}
    if not await exposures.vote(pair.id, person, pair.choice, reason=pair.reason, **facts):
        raise AskerError(words("compare.expired", who.locale))


async def _told(chat: "StudyChat", pair: Pair, who: Who) -> Reply:
    chosen = words(f"compare.{pair.choice}", who.locale)
    if pair.blind:
        text, _ = message(pair, words("compare.noted", who.locale, choice=chosen))
    else:
        a, b = (_writer(chat, side, who) for side in pair.sides)
        head = words("compare.told", who.locale, choice=chosen)
        tail = "" if pair.kept else words("compare.not_kept", who.locale)
        text, _ = message(pair, head, (f"A · {a}", f"B · {b}"), tail)
    rows = await chat.debriefs.rows(pair.person, who)
    return Reply(text, rows=rows, replaces=True, literal=True, caption=pair.picture)


def _writer(chat: "StudyChat", side: Side, who: Who) -> str:
    different = ", ".join(f"{n} {v:g}" for n, v in sorted(side.arm.sampling.items()))
    told = chat.debriefs.writer(side.facts, who)
    return f"{told} ({different})" if different else told


async def _made_ahead(chat: "StudyChat", item: "Item", arm: Arm) -> Side:
    _, pictures = await shown_item(chat.context.services, item)
    arm = arm.model_copy(update={"expert": item.expert})
    return Side(arm=arm, text=item.text, picture=pictures[0] if pictures else None)


async def _recalled(chat: "StudyChat", name: str, who: Who) -> Pair | None:
    """Restore a pair of before a restart from the record."""
    study = chat.study_services
    seen = await study.exposures.get(name) if study is not None else None
    if study is None or seen is None or seen.kind != "compare" or seen.state == "void":
        return None
    person = await chat.context.services.participant(who)
    if person is None or seen.pseudonym not in person.accounts:
        raise AskerError(words("compare.not_yours", who.locale))
    experiment = study.experiments.named(seen.experiment or "")
    items = [study.stimuli.named(facts.get("item", "")) for facts in seen.shown]
    sides = [
        await _made_ahead(chat, item, _arm(facts, experiment))
        for item, facts in zip(items, seen.shown, strict=True)
        if item is not None
    ]
    if not sides and len(seen.jobs) != len(seen.shown):
        return None
    for facts, job in zip(seen.shown, seen.jobs, strict=False):
        answer = await chat.context.engine.answer(job)
        expert = chat.context.registry.named(facts["expert"])
        if answer is None or answer.expired or expert is None:
            return None
        plan = Plan(request=answer.request, route=answer.route, expert=expert, job=answer.job)
        side = Side(
            arm=_arm(facts, experiment),
            plan=plan,
            text=answer.text,
            named=facts["named_itself"],
            picture=Picture(data=b"", width=0, height=0, seed=0) if answer.pictures else None,
            adapter=facts["adapter_digest"],
        )
        sides.append(side)
    pair = Pair(name, who, (sides[0], sides[1]), person, experiment, seen.step)
    for side in pair.sides:
        side.text = scrubbed(side.text, chat.pairs.giveaways(pair))[0]
    pair.choice, pair.reason, pair.revealed = seen.choice, seen.reason, seen.revealed
    chat.pairs.add(pair)
    return pair


def _arm(facts: dict[str, Any], experiment: Experiment | None) -> Arm:
    known = experiment.arms_of(facts["arm"]) if experiment else ()
    return known[0] if known else Arm(name=facts["arm"], plain=facts["plain"])
