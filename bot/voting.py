"""Votes on a pair, the reasons for them, and the reveal of who wrote which."""

from typing import Any

from bot.locales import words
from bot.messages.buttons import Press, Verb
from bot.participants import participant
from bot.service.request import Reply, Who
from bot.study.ballot import CHOICES, REASONS, message, vote_rows
from bot.study.blinding import scrubbed
from bot.study.pair import Pair, Side
from bot.study.study_chat import StudyChat
from engine.errors import AskerError
from engine.events import Picture
from engine.plan.plan import Plan
from engine.study.experiments.experiment import Arm, Experiment


async def voted(chat: StudyChat, press: Press, who: Who) -> Reply:
    """A vote, a reason for it, or the reveal. Raises AskerError."""
    pair = chat.pairs.get(press.job) or await _recalled(chat, press.job, who)
    if pair is None:
        raise AskerError(words("compare.expired", who.locale))
    if (pair.who.platform, pair.who.asker) != (who.platform, who.asker):
        raise AskerError(words("compare.not_yours", who.locale))
    if pair.revealed:
        raise AskerError(words("compare.closed", who.locale))
    if press.verb is Verb.VOTE and press.argument in CHOICES:
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
        return await _told(chat, pair, who)
    key = "compare.chosen" if not pair.reason else "compare.because"
    chosen = words(f"compare.{pair.choice}", who.locale)
    because = words(f"compare.{pair.reason}", who.locale) if pair.reason else ""
    head = words(key, who.locale, choice=chosen, reason=because)
    text, _ = message(pair, head)
    return Reply(text, rows=vote_rows(pair), replaces=True, literal=True, caption=pair.picture)


async def _count(chat: StudyChat, pair: Pair, who: Who, *, reveal: bool) -> None:
    """On record, while the consent is live; after a withdrawal nothing more is written."""
    lab = chat.context.desk.lab
    person = await participant(chat.context.desk, who)
    if lab is None or person is None:
        return
    await lab.exposures.delivered(pair.id)  # whoever presses has it before them
    unblinded = any(side.named for side in pair.sides)
    done = await lab.exposures.vote(
        pair.id, person, pair.choice, reason=pair.reason, unblinded=unblinded, reveal=reveal
    )
    if not done:
        raise AskerError(words("compare.expired", who.locale))


async def _told(chat: StudyChat, pair: Pair, who: Who) -> Reply:
    """Who wrote which, in place."""
    labels = tuple(
        f"{label} · {_writer(side, who)}"
        for label, side in zip(("A", "B"), pair.sides, strict=True)
    )
    chosen = words(f"compare.{pair.choice}", who.locale)
    head = words("compare.told", who.locale, choice=chosen)
    tail = "" if pair.kept else words("compare.not_kept", who.locale)
    text, _ = message(pair, head, (labels[0], labels[1]), tail)
    rows = await chat.questions.after_exposure(pair.experiment, pair.person, who)
    return Reply(text, rows=rows, replaces=True, literal=True, caption=pair.picture)


def _writer(side: Side, who: Who) -> str:
    if side.arm.plain:
        return words("compare.base", who.locale, expert=side.expert.title)
    different = ", ".join(f"{n} {v:g}" for n, v in sorted(side.arm.sampling.items()))
    told = words("compare.expert", who.locale, expert=side.expert.title)
    return f"{told} ({different})" if different else told


async def _recalled(chat: StudyChat, name: str, who: Who) -> Pair | None:
    """A pair of before a restart, from the record."""
    lab = chat.context.desk.lab
    seen = await lab.exposures.get(name) if lab is not None else None
    if lab is None or seen is None or seen.kind != "compare" or seen.state == "void":
        return None
    person = await participant(chat.context.desk, who)
    if person is None or seen.pseudonym not in person.accounts:
        raise AskerError(words("compare.not_yours", who.locale))
    experiment = lab.experiments.named(seen.experiment or "")
    sides: list[Side] = []
    if len(seen.jobs) != len(seen.shown):
        return None
    for facts, job in zip(seen.shown, seen.jobs, strict=True):
        answer = await chat.context.engine.answer(job)
        expert = chat.context.registry.named(facts["expert"])
        if answer is None or answer.expired or expert is None:
            return None
        arm = _arm(facts, experiment)
        plan = Plan(request=answer.request, route=answer.route, expert=expert, job=answer.job)
        side = Side(arm=arm, plan=plan)
        side.named, side.adapter = facts["named_itself"], facts["adapter_digest"]
        side.picture = Picture(data=b"", width=0, height=0, seed=0) if answer.pictures else None
        sides.append(side)
        pair_text = answer.text
        side.text = pair_text
    pair = Pair(id=name, who=who, sides=(sides[0], sides[1]), person=person, experiment=experiment)
    for side in pair.sides:
        side.text = scrubbed(side.text, chat.pairs.giveaways(pair))[0]
    pair.choice, pair.revealed = seen.choice, seen.revealed
    chat.pairs.add(pair)
    return pair


def _arm(facts: dict[str, Any], experiment: Experiment | None) -> Arm:
    known = experiment.arms_of(facts["arm"]) if experiment else ()
    return known[0] if known else Arm(name=facts["arm"], plain=facts["plain"])
