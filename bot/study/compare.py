"""/compare: two answers to one request, blinded, side by side, voted on; then who wrote which.

Both jobs have the same seed, limits and checks, and are waited for without showing anything of them.
If one of them fails, or is stopped by moderation, the pair is void: it is told, given back and not
scored. Whose consent is live has the pair on record; others may play, and nothing of theirs is kept.
"""

import asyncio
import random
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bot.locales import words
from bot.messages.grammar import Compare, Generate
from bot.service.admission import charge_all, give_back
from bot.service.answer import check_request, screening_of
from bot.service.dispatch_table import Step, Stream
from bot.service.request import Reply, Who, request_of
from bot.study.ballot import shown
from bot.study.blinding import scrubbed
from bot.study.pair import PAIR, Pair, Side, VoidError
from bot.study.treatment import candidate
from engine.errors import AskerError
from engine.events import Failed, Finished, Loading
from engine.ledger.ledger import new_id
from engine.plan.plan import MAX_SEED
from engine.shutdown import end
from engine.study.experiments.allocation import sides
from engine.study.experiments.eligibility import treatment_of
from engine.study.experiments.experiment import Arm, Experiment

if TYPE_CHECKING:
    from bot.study.study_chat import StudyChat
    from engine.plan.cards import Expert
    from engine.plan.job import Request
    from engine.study.consent.participants import Person


FREE_PAIRS = 10  # outside of experiments, in which each side comes as often


async def compare(chat: "StudyChat", command: Compare, who: Who) -> Stream:
    """Yield ACCEPTED, something to wait by, then both answers in one message. Raises AskerError."""
    if command.options.private:
        raise AskerError(words("compare.not_private", who.locale))
    with chat.context.hurry.asking(who):
        try:
            pair = await _planned(chat, command, who)
        except VoidError as found:
            raise AskerError(words(f"compare.void_{found.reason}", who.locale)) from found
        if isinstance(pair, Reply):
            yield pair
            return
        async with aclosing(_answers(chat, pair)) as events:
            async for event in events:
                yield event


async def _answers(chat: "StudyChat", pair: Pair) -> Stream:
    who, done = pair.who, False
    paid = await charge_all(chat.context, [side.planned for side in pair.sides], who)
    try:
        for side in pair.sides:
            await check_request(chat.context, side.planned, who, side.planned.request.text)
        if pair.person is not None:
            of: dict[str, Any] = {"experiment": pair.experiment, "step": pair.step}
            of |= {"seed": pair.sides[0].planned.request.seed or 0, "shown": pair.facts}
            exposures = chat.context.services.study.exposures
            await exposures.make(pair.id, pair.person, "compare", **of)
        chat.pairs.add(pair)
        yield Step.ACCEPTED
        yield Loading(job=pair.id, attempt=1, what=words("compare.waiting", who.locale))
        try:
            await _written(chat, pair)
        finally:
            pair.written = True
        message = await shown(chat, pair)
        done = True  # a client hears no further than this
        yield message
    except VoidError as found:
        await chat.pairs.void(pair, found.reason)
        yield Reply(words(f"compare.void_{found.reason}", who.locale))
    finally:
        if not done:
            await give_back(chat.context, paid)
            await chat.pairs.let_go(pair)


async def _planned(chat: "StudyChat", command: Compare, who: Who) -> Pair | Reply:
    """Draw who writes in which order, or ask what comes before. Raises AskerError, VoidError."""
    options = command.options
    names = [n.strip() for n in (options.style or "").split(",") if n.strip()]
    if len(names) > 2 or len(set(names)) < len(names):
        raise AskerError(words("compare.two_styles", who.locale))
    seed = random.randrange(MAX_SEED) if options.seed is None else options.seed
    options = replace(options, seed=seed, style=names[0] if names else None, count=None)
    plain = Generate(command=command.command, text=command.text, options=options)
    asked = await request_of(plain, who, chat.context.engine)
    chosen = (await asyncio.to_thread(chat.context.engine.plan, asked)).expert
    person = None if who.borrowed else await chat.context.services.participant(who)
    enrolled = None
    if person is not None and len(names) < 2:
        asking = candidate("compare", command.command, chosen, command.text, new_id())
        enrolled = await chat.context.services.study.enrolled(person, who, asking)
    if enrolled is not None and person is not None:
        first = await chat.questions.before(enrolled, person, command, who)
        if first is not None:
            return first
        arms = enrolled.arms
    elif len(names) == 2:
        experts = [chat.context.engine.plan(replace(asked, style=n)).route.expert for n in names]
        arms = tuple(Arm(name=expert[:15], expert=expert) for expert in experts)
    else:
        arms = (Arm(name="base", plain=True), Arm(name="expert"))
    name = new_id()
    experiment, step = (enrolled.experiment, enrolled.step) if enrolled else (None, "")
    order = await _order(chat, arms, experiment, step, person)
    try:
        sides = [_side(chat, asked, arm, experiment, chosen, name) for arm in order]
    except VoidError as found:
        if person is not None:
            facts = [{"label": x, "arm": arm.name} for x, arm in zip("ab", order, strict=True)]
            of: dict[str, Any] = {"experiment": experiment, "step": step, "seed": seed}
            exposures = chat.context.services.study.exposures
            await exposures.make(name, person, "compare", shown=facts, **of)
            await exposures.void(name, found.reason)
        raise
    return Pair(name, who, (sides[0], sides[1]), person, experiment, step)


async def _order(
    chat: "StudyChat",
    arms: tuple[Arm, ...],
    experiment: Experiment | None,
    step: str,
    person: "Person | None",
) -> list[Arm]:
    """Say which arm stands first: of a participant by the study's key, as often the one as the other."""
    if person is None:
        return random.sample(arms, 2)
    of, length = (experiment.id, experiment.length(step)) if experiment else (None, FREE_PAIRS)
    number = await chat.context.services.study.exposures.number(person, of, "compare", step)
    key = chat.context.services.study.study.needed_key()
    name = f"{of or 'free'}|{person.root}" + (f"|{step}" if step else "")
    first = sides(key, name, number, length)
    return [arms[first], arms[1 - first]]


def _side(
    chat: "StudyChat",
    asked: "Request",
    arm: Arm,
    experiment: Experiment | None,
    chosen: "Expert",
    name: str,
) -> Side:
    """Plan an arm's request. Raises VoidError where its model is not here."""
    expert = chat.context.registry.named(arm.expert or chosen.name)
    if expert is None or expert.command != asked.command:
        raise VoidError("missing")
    free = not arm.expert and arm.router == "rules"
    named = arm.model_copy(update={"expert": expert.name}) if free else arm
    treatment = treatment_of(named, experiment, exposure=name)
    request = replace(asked, style=None, treatment=treatment, address=f"{PAIR}{name}")
    return Side(arm=arm, plan=chat.context.engine.plan(request))


async def _written(chat: "StudyChat", pair: Pair) -> None:
    """Await both answers at once. Raises VoidError as soon as one of them cannot be had."""
    tasks = [asyncio.create_task(_answered(chat, pair, side)) for side in pair.sides]
    try:
        await asyncio.gather(*tasks)
    finally:
        await end(*tasks)


async def _answered(chat: "StudyChat", pair: Pair, side: Side) -> None:
    """Follow one answer to its end, moderated like any other. Raises VoidError."""
    context = chat.context
    screening = screening_of(context, side.planned, pair.who)
    context.deliveries.take_in_hand(side.job)
    async with AsyncExitStack() as stack:
        stack.callback(context.deliveries.let_go, side.job)
        await context.engine.ask(side.planned)
        events = await stack.enter_async_context(aclosing(context.engine.follow(side.job)))
        async for event in events:
            shown = await screening.shown(event)
            context.deliveries.take_in_hand(side.job, event)
            if pair.stopped:
                await context.engine.cancel(side.job)
            match shown:
                case Reply():
                    raise VoidError("moderated")
                case Failed():
                    raise VoidError("failed")
                case Finished(text=text, pictures=pictures):
                    side.picture = pictures[0] if pictures else None
                    side.text, side.named = scrubbed(text, chat.pairs.giveaways(pair))
                    side.adapter = shown.adapter_digest
                    if not (text.strip() or pictures):
                        raise VoidError("empty")
                    return
    raise VoidError("cancelled" if pair.stopped else "failed")
