"""/compare: two answers to one request, blinded, side by side, voted on; then who wrote which.

Both jobs have the same seed, limits and checks, and are waited for without showing anything of them.
If one of them fails, or is stopped by moderation, the pair is void: it is told, given back and not
scored. Whose consent is live has the pair on record; others may play, and nothing of theirs is kept.
"""

import asyncio
import random
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from bot.buttons import Press, Rows, Verb, button
from bot.conversation import Said, Who, request_of
from bot.delivering import PAIR
from bot.english import looks_english
from bot.grammar import Compare, Generate
from bot.locales import words
from bot.pairing import fitted, scrubbed, side_by_side
from bot.render import AI_LINE
from engine.engine import MAX_SEED
from engine.errors import AskerError, PasticheError
from engine.events import Event, Failed, Finished, Loading, Picture
from engine.jobs import Request
from engine.ledger import new_id
from engine.moderation import Content
from engine.registry import Expert
from engine.study.enrolling import Asking, Enrolled, treatment_of
from engine.study.experiments import Arm, Experiment
from engine.study.exposing import OPEN_SECONDS
from engine.study.participants import Person, Spot
from engine.treating import route_of

if TYPE_CHECKING:
    from bot.talk import Talk

CHOICES = ("a", "b", "tie", "bad")
REASONS = ("style", "story", "language", "surprise", "other")
MOST = 2_000  # pairs remembered
COST = 2  # answers


@dataclass(slots=True)
class Side:
    """One of the two. `text` is what is shown of it, scrubbed; `named`: it had named its writer."""

    arm: Arm
    expert: Expert
    job: str
    request: Request
    text: str = ""
    named: bool = False
    picture: Picture | None = None
    adapter: str = ""

    @property
    def facts(self) -> dict[str, Any]:
        """For the record."""
        return {
            "arm": self.arm.name,
            "expert": self.expert.name,
            "plain": self.arm.plain,
            "adapter_digest": self.adapter,
            "named_itself": self.named,
        }


@dataclass(slots=True)
class Pair:
    """Two answers on their way to a vote. `sides` in the order of showing, a then b."""

    id: str
    who: Who
    sides: tuple[Side, Side]
    person: Person | None = None
    experiment: Experiment | None = None
    made: float = field(default_factory=time.monotonic)
    choice: str = ""
    reason: str = ""
    revealed: bool = False
    stopped: bool = False
    written: bool = False

    @property
    def kept(self) -> bool:
        """Whether it is on record."""
        return self.person is not None

    @property
    def picture(self) -> bool:
        """Whether it is of pictures."""
        return self.sides[0].picture is not None


class Pairs:
    """Those that may still be voted on, of this process."""

    def __init__(self) -> None:
        self._pairs: OrderedDict[str, Pair] = OrderedDict()

    def add(self, pair: Pair) -> None:
        """Remember it, and forget the oldest."""
        self._pairs[pair.id] = pair
        while len(self._pairs) > MOST:
            self._pairs.popitem(last=False)

    def under_way(self, who: Who) -> str:
        """The name of somebody's pair that is being written; empty if there is none."""
        mine = (who.platform, who.asker)
        for pair in reversed(self._pairs.values()):
            if (pair.who.platform, pair.who.asker) == mine and not pair.written:
                return pair.id
        return ""

    def get(self, name: str) -> Pair | None:
        """One that is not too old."""
        pair = self._pairs.get(name)
        if pair is not None and time.monotonic() - pair.made > OPEN_SECONDS:
            del self._pairs[name]
            return None
        return pair


class VoidError(Exception):
    """The pair cannot be judged; `reason` for the record, the words for the asker."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def spot_of(who: Who) -> Spot:
    """Where somebody is, as the study sees it."""
    return Spot(
        platform=who.platform,
        asker=who.asker,
        place=who.place,
        server=who.server,
        alone=who.private,
        locale=who.locale,
    )


async def participant(talk: "Talk", who: Who) -> Person | None:
    """Somebody who takes part, here and now."""
    lab = talk.desk.lab
    return None if lab is None else await lab.person(spot_of(who))


async def compare(talk: "Talk", command: Compare, who: Who) -> AsyncGenerator[Event | Said]:
    """Something to wait by, then both answers in one message. Raises AskerError."""
    if command.options.private:
        raise AskerError(words("compare.not_private", who.locale))
    try:
        pair = await _planned(talk, command, who)
    except VoidError as void:
        raise AskerError(words(f"compare.void_{void.reason}", who.locale)) from void
    if isinstance(pair, Said):
        yield pair
        return
    paid = await talk.pay_for([side.request for side in pair.sides], who)
    done = False
    try:
        for side in pair.sides:
            await talk.check_prompt(side.request, side.expert, who, side.job)
        if pair.kept:
            await _on_record(talk, pair)
        talk.pairs.add(pair)
        yield Loading(job=pair.id, attempt=1, what=words("compare.waiting", who.locale))
        try:
            await _written(talk, pair)
        finally:
            pair.written = True
        shown = await _shown(talk, pair)
        done = True  # a client hears no further than this
        yield shown
    except VoidError as void:
        await _void(talk, pair, void.reason)
        yield Said(words(f"compare.void_{void.reason}", who.locale))
    finally:
        if not done:
            await talk.give_back(paid)
            await _let_go(talk, pair)


async def _planned(talk: "Talk", command: Compare, who: Who) -> Pair | Said:
    """Who writes, in which order; or a question that comes before. Raises AskerError, VoidError."""
    options = command.options
    names = [n.strip() for n in (options.style or "").split(",") if n.strip()]
    if len(names) > 2 or len(set(names)) < len(names):
        raise AskerError(words("compare.two_styles", who.locale))
    seed = random.randrange(MAX_SEED) if options.seed is None else options.seed
    options = replace(options, seed=seed, style=names[0] if names else None, count=None)
    plain = Generate(command=command.command, text=command.text, options=options)
    asked = await request_of(plain, who, talk.core)
    chosen = talk.registry[route_of(asked, talk.registry).expert]
    person = await participant(talk, who)
    enrolled = await _enrolled(talk, command, chosen, person, who) if len(names) < 2 else None
    if enrolled is not None and person is not None:
        first = await talk.questions.before(enrolled, person, command, who)
        if first is not None:
            return first
        arms = enrolled.arms
    elif len(names) == 2:
        arms = tuple(
            Arm(name=_named(talk, asked, n)[:15], expert=_named(talk, asked, n)) for n in names
        )
    else:
        arms = (Arm(name="base", plain=True), Arm(name="expert"))
    order = list(arms)
    random.SystemRandom().shuffle(order)
    name = new_id()
    experiment = enrolled.experiment if enrolled else None
    try:
        sides = [_side(talk, asked, arm, experiment, chosen, name) for arm in order]
    except VoidError as void:
        if talk.desk.lab is not None and person is not None:
            facts = [{"label": x, "arm": arm.name} for x, arm in zip("ab", order, strict=True)]
            exposures, of = talk.desk.lab.exposures, experiment.id if experiment else None
            await exposures.make(name, person, "compare", shown=facts, seed=seed, experiment=of)
            await exposures.void(name, void.reason)
        raise
    return Pair(id=name, who=who, sides=(sides[0], sides[1]), person=person, experiment=experiment)


def _named(talk: "Talk", asked: Request, style: str) -> str:
    """The expert of a style's name. Raises StyleError."""
    return route_of(replace(asked, style=style), talk.registry).expert


async def _enrolled(
    talk: "Talk", command: Compare, expert: Expert, person: Person | None, who: Who
) -> Enrolled | None:
    lab = talk.desk.lab
    if lab is None or person is None:
        return None
    asking = Asking(
        task="compare",
        command=command.command,
        expert=expert.name,
        language="en" if looks_english(command.text) else "",
        unit=new_id(),
    )
    return await lab.enrolled(person, spot_of(who), asking)


def _side(
    talk: "Talk", asked: Request, arm: Arm, experiment: Experiment | None, chosen: Expert, name: str
) -> Side:
    """An arm as a request. Raises VoidError for one whose model is not here."""
    expert = talk.registry.named(arm.expert or chosen.name)
    if expert is None or expert.command != asked.command:
        raise VoidError("missing")
    named = (
        arm
        if arm.expert or arm.router != "rules"
        else arm.model_copy(update={"expert": expert.name})
    )
    treatment = treatment_of(named, experiment, exposure=name)
    request = replace(asked, style=None, treatment=treatment, address=f"{PAIR}{name}")
    return Side(arm=arm, expert=expert, job=new_id(), request=request)


async def _on_record(talk: "Talk", pair: Pair) -> None:
    lab, person = talk.desk.lab, pair.person
    assert lab is not None and person is not None
    await lab.exposures.make(
        pair.id,
        person,
        "compare",
        shown=_facts(pair),
        seed=pair.sides[0].request.seed or 0,
        experiment=pair.experiment.id if pair.experiment else None,
    )


def _facts(pair: Pair) -> list[dict[str, Any]]:
    labels = ("a", "b")
    return [{"label": label, **s.facts} for label, s in zip(labels, pair.sides, strict=True)]


async def _written(talk: "Talk", pair: Pair) -> None:
    """Both answers, at the same time. Raises VoidError as soon as one of them cannot be had."""
    tasks = [asyncio.create_task(_answered(talk, pair, side)) for side in pair.sides]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _answered(talk: "Talk", pair: Pair, side: Side) -> None:
    """One answer to its end, moderated like any other. Raises VoidError."""
    request, who = side.request, pair.who
    content = Content(text=request.text, command=request.command, medium=side.expert.medium)
    talk.take_in_hand(side.job)
    events = talk.guard.watch(talk.core.ask(request, side.job), who, content)
    async with AsyncExitStack() as stack:
        stack.callback(talk.let_go, side.job)
        await stack.enter_async_context(aclosing(events))
        async for event in events:
            if pair.stopped:
                await talk.core.cancel(side.job)
            match event:
                case Said():
                    raise VoidError("moderated")
                case Failed():
                    raise VoidError("failed")
                case Finished(text=text, pictures=pictures):
                    side.picture = pictures[0] if pictures else None
                    side.text, side.named = scrubbed(text, _names(talk, pair))
                    side.adapter = event.adapter_digest
                    if not (text.strip() or pictures):
                        raise VoidError("empty")
                    return
    raise VoidError("cancelled" if pair.stopped else "failed")


def _names(talk: "Talk", pair: Pair) -> tuple[str, ...]:
    """What would tell who wrote it."""
    extra = pair.experiment.scrub if pair.experiment else ()
    return (*(e.title for e in talk.registry.experts if e.medium == "text"), *extra)


async def _shown(talk: "Talk", pair: Pair) -> Said:
    """Both in one message, with the vote below."""
    text, visible = _text(pair, words("compare.ask", pair.who.locale))
    if pair.kept and talk.desk.lab is not None:
        jobs = [side.job for side in pair.sides]
        await talk.desk.lab.exposures.compose(pair.id, _facts(pair), jobs, visible)
    pictures: tuple[Picture, ...] = ()
    left, right = (side.picture for side in pair.sides)
    if left is not None and right is not None:
        pictures = (await asyncio.to_thread(side_by_side, left, right, pair.id),)
    return Said(text, rows=_rows(pair), pictures=pictures, literal=True, receipt=f"{PAIR}{pair.id}")


def _text(
    pair: Pair, head: str, labels: tuple[str, str] = ("A", "B"), tail: str = ""
) -> tuple[str, dict[str, Any]]:
    """The message's words, and in what form they can be seen."""
    if pair.picture:
        key = "compare.pictures" if labels == ("A", "B") else "compare.told_pictures"
        told = words(key, pair.who.locale, a=labels[0], b=labels[1])
        whole = "\n\n".join(part for part in (head, told, tail, AI_LINE) if part)
        return whole, {"form": "picture side by side", "platform": pair.who.platform}
    one, two = (side.text for side in pair.sides)
    notice = f"{tail}\n\n{AI_LINE}" if tail else AI_LINE
    return fitted(head, one, two, labels, notice, pair.who.platform)


def _rows(pair: Pair) -> Rows:
    locale = pair.who.locale

    def row(verb: Verb, names: tuple[str, ...], chosen: str) -> tuple[Any, ...]:
        return tuple(
            button(verb, pair.id, name, label=_label(f"compare.{name}", locale, name == chosen))
            for name in names
        )

    rows = [row(Verb.VOTE, CHOICES, pair.choice)]
    if pair.choice:
        rows.append(row(Verb.BECAUSE, REASONS, pair.reason))
        show = button(Verb.VOTE, pair.id, "reveal", label=words("compare.reveal", locale))
        rows.append((show,))
    return tuple(rows)


def _label(key: str, locale: str, chosen: bool) -> str:
    return ("✓ " if chosen else "") + words(key, locale)


# Votes


async def voted(talk: "Talk", press: Press, who: Who) -> Said:
    """A vote, a reason for it, or the reveal. Raises AskerError."""
    pair = talk.pairs.get(press.job) or await _recalled(talk, press.job, who)
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
        await _count(talk, pair, who, reveal=reveal)
    pair.revealed = reveal
    if reveal:
        return await _told(talk, pair, who)
    key = "compare.chosen" if not pair.reason else "compare.because"
    chosen = words(f"compare.{pair.choice}", who.locale)
    because = words(f"compare.{pair.reason}", who.locale) if pair.reason else ""
    head = words(key, who.locale, choice=chosen, reason=because)
    text, _ = _text(pair, head)
    return Said(text, rows=_rows(pair), replaces=True, literal=True, caption=pair.picture)


async def _count(talk: "Talk", pair: Pair, who: Who, *, reveal: bool) -> None:
    """On record, while the consent is live; after a withdrawal nothing more is written."""
    lab = talk.desk.lab
    person = await participant(talk, who)
    if lab is None or person is None:
        return
    await lab.exposures.delivered(pair.id)  # whoever presses has it before them
    unblinded = any(side.named for side in pair.sides)
    done = await lab.exposures.vote(
        pair.id, person, pair.choice, reason=pair.reason, unblinded=unblinded, reveal=reveal
    )
    if not done:
        raise AskerError(words("compare.expired", who.locale))


async def _told(talk: "Talk", pair: Pair, who: Who) -> Said:
    """Who wrote which, in place."""
    labels = tuple(
        f"{label} · {_writer(side, who)}"
        for label, side in zip(("A", "B"), pair.sides, strict=True)
    )
    chosen = words(f"compare.{pair.choice}", who.locale)
    head = words("compare.told", who.locale, choice=chosen)
    tail = "" if pair.kept else words("compare.not_kept", who.locale)
    text, _ = _text(pair, head, (labels[0], labels[1]), tail)
    rows = await talk.questions.after_exposure(pair.experiment, pair.person, who)
    return Said(text, rows=rows, replaces=True, literal=True, caption=pair.picture)


def _writer(side: Side, who: Who) -> str:
    if side.arm.plain:
        return words("compare.base", who.locale, expert=side.expert.title)
    different = ", ".join(f"{n} {v:g}" for n, v in sorted(side.arm.sampling.items()))
    told = words("compare.expert", who.locale, expert=side.expert.title)
    return f"{told} ({different})" if different else told


async def _recalled(talk: "Talk", name: str, who: Who) -> Pair | None:
    """A pair of before a restart, from the record."""
    lab = talk.desk.lab
    seen = await lab.exposures.get(name) if lab is not None else None
    if lab is None or seen is None or seen.kind != "compare" or seen.state == "void":
        return None
    person = await participant(talk, who)
    if person is None or seen.pseudonym not in person.accounts:
        raise AskerError(words("compare.not_yours", who.locale))
    experiment = lab.experiments.named(seen.experiment or "")
    sides: list[Side] = []
    if len(seen.jobs) != len(seen.shown):
        return None
    for facts, job in zip(seen.shown, seen.jobs, strict=True):
        answer = await talk.core.answer(job)
        expert = talk.registry.named(facts["expert"])
        if answer is None or answer.expired or expert is None:
            return None
        arm = _arm(facts, experiment)
        side = Side(arm=arm, expert=expert, job=job, request=answer.request)
        side.named, side.adapter = facts["named_itself"], facts["adapter_digest"]
        side.picture = Picture(data=b"", width=0, height=0, seed=0) if answer.pictures else None
        sides.append(side)
        pair_text = answer.text
        side.text = pair_text
    pair = Pair(id=name, who=who, sides=(sides[0], sides[1]), person=person, experiment=experiment)
    for side in pair.sides:
        side.text = scrubbed(side.text, _names(talk, pair))[0]
    pair.choice, pair.revealed = seen.choice, seen.revealed
    talk.pairs.add(pair)
    return pair


def _arm(facts: dict[str, Any], experiment: Experiment | None) -> Arm:
    known = experiment.arms_of(facts["arm"]) if experiment else ()
    return known[0] if known else Arm(name=facts["arm"], plain=facts["plain"])


# Ends


async def arrived(talk: "Talk", name: str) -> None:
    """The pair is on the screen: both answers count as delivered."""
    pair = talk.pairs.get(name)
    if pair is None:
        return
    if pair.kept and talk.desk.lab is not None:
        await talk.desk.lab.exposures.delivered(name)
    for side in pair.sides:
        await talk.delivered(side.job)


async def missed(talk: "Talk", name: str) -> None:
    """It could not be shown: no exposure."""
    pair = talk.pairs.get(name)
    if pair is not None:
        await _void(talk, pair, "undelivered")
        await _let_go(talk, pair)


async def stop(talk: "Talk", name: str, who: Who) -> bool:
    """Cancel both; whether there was anything to stop. Raises AskerError for another's pair."""
    pair = talk.pairs.get(name)
    if pair is None:
        return False
    if (pair.who.platform, pair.who.asker) != (who.platform, who.asker):
        raise AskerError(words("talk.not_yours", who.locale))
    pair.stopped = True
    for side in pair.sides:
        await talk.core.cancel(side.job)
    return not pair.written


async def _void(talk: "Talk", pair: Pair, reason: str) -> None:
    if pair.kept and talk.desk.lab is not None:
        await talk.desk.lab.exposures.void(pair.id, reason)


async def _let_go(talk: "Talk", pair: Pair) -> None:
    """Nobody waits for these answers any more. A pair that nobody heard the end of is void."""
    await _void(talk, pair, "abandoned")
    for side in pair.sides:
        with suppress(PasticheError):
            await talk.core.cancel(side.job)
            await talk.lost(side.job)
