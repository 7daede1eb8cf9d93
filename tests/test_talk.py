"""What both clients speak through: who may, how much, what is shown, and what is owed."""

import asyncio
from contextlib import aclosing
from dataclasses import replace
from itertools import count

import pytest
import talking
from talking import OPERATOR, Clock, pressed, replies_of, told, unhurried

from bot.chat import make_context
from bot.messages.buttons import Press, Verb, decode, encode
from bot.messages.escape import quoting
from bot.messages.normalise import MAX_TEXT
from bot.service.rate_limit import PACE, RateLimit, RequestRate
from bot.service.request import Reply, Who
from bot.service.service import ChatService
from engine import Engine
from engine.errors import AskerError, BusyError, LedgerError, LimitError
from engine.events import Cancelled, Failed, Finished, Image, Queued
from engine.ledger.ledger import new_id
from engine.moderation.chain import usual
from engine.plan.plan import Plan

here, clock, talk = talking.here, talking.clock, talking.talk  # fixtures
pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.databases("sqlite", "postgres")]
numbers = count(1)


@pytest.fixture
def who() -> Who:
    """Somebody new, in a group that nobody else is in."""
    number = next(numbers)
    return Who(
        platform="discord", asker=f"asker {number}", place=f"place {number}", address="there"
    )


async def test_a_story_comes_with_its_footer_and_is_no_longer_owed(
    talk: ChatService, who: Who
) -> None:
    events = await told(talk, "/story in the style of lovecraft: It rained.", who)
    assert isinstance(events[0], Queued)
    final = events[-1]
    assert isinstance(final, Finished)
    footer = await talk.footer(final, who)
    assert footer.startswith("AI-generated")
    assert footer.count("AI-generated") == 1
    assert final.job not in [debt.job for debt in await talk.deliveries.debts("discord")]


async def test_news_says_once_that_it_is_made_up(talk: ChatService, who: Who) -> None:
    final = (await told(talk, "/news storms batter the coast of Cornwall", who))[-1]
    footer = await talk.footer(final, who)
    assert footer.count("AI-generated") == 1
    assert "not reporting" in footer
    footer = await talk.footer(final, replace(who, locale="it"))
    assert footer.startswith("Generato dall'IA, non è giornalismo")
    assert footer.count("Generato dall'IA") == 1 and "AI-generated" not in footer
    [said] = await told(talk, "/story export", replace(who, locale="it"))
    assert "non è giornalismo" in said.files[0][1].decode()


async def test_generated_links_and_mentions_are_dead(talk: ChatService, who: Who) -> None:
    final = (await told(talk, "It rained on @everyone at https://example.com", who))[-1]
    assert "@everyone" not in final.text
    assert "https://" not in final.text
    assert "example[.]com" in final.text


async def test_continue_again_and_why_mean_the_answer_that_was_pressed(
    talk: ChatService, who: Who
) -> None:
    first = (await told(talk, "The vicar coughed.", who))[-1]
    await told(talk, "It snowed.", who)
    went_on = (await pressed(talk, Press(Verb.CONTINUE, first.job), who))[-1]
    assert "vicar" in went_on.text
    again = (await pressed(talk, Press(Verb.AGAIN, first.job), who))[-1]
    assert (await talk.context.engine.answer(again.job)).request.parent is not None
    [why] = await pressed(talk, Press(Verb.WHY, first.job), replace(who, asker="another"))
    assert "answered" in why.text
    assert why.private


async def test_another_style_asks_which_and_then_uses_it(talk: ChatService, who: Who) -> None:
    first = (await told(talk, "/story in the style of lovecraft: It rained.", who))[-1]
    [said] = await pressed(talk, Press(Verb.STYLE, first.job), who)
    [other] = [b for b in said.ask if b.press.argument == "agatha"]
    assert decode(other.data) == other.press
    final = (await pressed(talk, other.press, who))[-1]
    assert (await talk.context.engine.answer(final.job)).route.expert == "agatha"


async def test_only_the_asker_changes_an_answer_and_a_manager_may_delete_it(
    talk: ChatService, who: Who
) -> None:
    final = (await told(talk, "It rained.", who))[-1]
    other = replace(who, asker="somebody else")
    for verb in (Verb.CONTINUE, Verb.AGAIN, Verb.STYLE, Verb.CANCEL, Verb.DELETE):
        with pytest.raises(AskerError, match="Only the person who asked"):
            await talk.press(Press(verb, final.job), other)
    elsewhere = replace(other, place="another place")
    with pytest.raises(AskerError, match="Only the person who asked"):  # a forged button
        await talk.press(Press(Verb.DELETE, final.job), replace(elsewhere, alone=True))
    with pytest.raises(AskerError, match="Only the person who asked"):
        await talk.press(Press(Verb.WHY, final.job), elsewhere)
    [gone] = await pressed(talk, Press(Verb.DELETE, final.job), replace(other, manager=True))
    assert gone.deletes
    assert (await talk.context.engine.answer(final.job)).text == ""
    with pytest.raises(AskerError, match="expired"):
        await talk.press(Press(Verb.CONTINUE, final.job), who)


async def test_a_cancel_stops_the_newest_that_is_under_way_and_then_the_others(
    talk: ChatService, who: Who
) -> None:
    unhurried(talk, 10)
    running = []
    for _ in range(2):
        replies = replies_of(talk, talk.parse("/story ::slow:: " + "It rained. " * 40), who)
        running.append(replies)
        assert await anext(replies)
    for replies in reversed(running):
        assert "nothing" not in (await told(talk, "/cancel", who))[-1].text
        assert [reply async for reply in replies][-1].kind == "cancelled"
    assert "nothing to stop" in (await told(talk, "/cancel", who))[-1].text


async def test_pressing_twice_is_harmless(talk: ChatService, who: Who) -> None:
    final = (await told(talk, "It rained.", who))[-1]
    for _ in range(2):
        [said] = await pressed(talk, Press(Verb.UP, final.job), who)
        assert said.private
    assert await talk.context.services.feedback.ratings(final.job) == [1]
    await pressed(talk, Press(Verb.DOWN, final.job), who)
    assert await talk.context.services.feedback.ratings(final.job) == [-1]
    [said] = await pressed(talk, Press(Verb.CANCEL, final.job), who)
    assert "nothing to stop" in said.text
    both = await asyncio.gather(
        *(pressed(talk, Press(Verb.AGAIN, final.job), who) for _ in range(2))
    )
    answers = [replies[-1] for replies in both]
    assert sum(isinstance(answer, Finished) for answer in answers) == 1
    assert sum(isinstance(answer, Reply) and answer.private for answer in answers) == 1


async def test_a_button_for_no_answer_says_that_it_has_expired(talk: ChatService, who: Who) -> None:
    with pytest.raises(AskerError, match="72 hours"):
        await talk.press(decode(encode(Press(Verb.CONTINUE, new_id()))), who)
    with pytest.raises(AskerError, match="72 hours"):
        await talk.press(Press(Verb.UP, new_id()), who)
    [gone] = await pressed(talk, Press(Verb.DELETE, new_id()), replace(who, alone=True))
    assert gone.deletes


async def test_a_number_typed_at_a_guess_is_no_story_where_no_study_runs_either(
    talk: ChatService, who: Who
) -> None:
    [guess] = await told(talk, "/guess", who)
    [again] = await told(talk, "5", who)
    assert (again.text, again.rows) == (guess.text, guess.rows)


async def test_groups_and_private_chats_never_mix(talk: ChatService, who: Who) -> None:
    final = (await told(talk, "It rained.", who))[-1]
    alone = replace(who, place="in private", alone=True)
    with pytest.raises(AskerError, match="nothing of yours from this chat"):
        await told(talk, "/continue", alone)
    with pytest.raises(AskerError, match="another chat"):
        await told(talk, "/continue", replace(alone, reply_to=final.job))


async def test_anybody_may_go_on_from_an_answer_by_replying_to_it(
    talk: ChatService, who: Who
) -> None:
    final = (await told(talk, "The vicar coughed.", who))[-1]
    await talk.deliveries.delivered(final.job, ("chat:17",))
    job = await talk.context.services.outbox.job_of("discord", "chat:17")
    assert job == final.job
    friend = replace(who, asker="a friend", reply_to=job)
    went_on = (await told(talk, "/continue and fell.", friend))[-1]
    assert "vicar" in went_on.text
    assert (await talk.context.engine.answer(went_on.job)).request.asker == "a friend"


async def test_a_bucket_runs_dry_says_for_how_long_and_fills_again(
    talk: ChatService, who: Who, clock: Clock
) -> None:
    for _ in range(10):
        await told(talk, "It rained.", who)
    with pytest.raises(LimitError, match=r"about (1 min|5\d s)"):
        await told(talk, "It rained.", who)
    clock.ahead += 61
    assert isinstance((await told(talk, "It rained.", who))[-1], Finished)


async def test_a_place_has_its_own_bucket_and_a_chat_of_two_has_none(
    talk: ChatService, who: Who
) -> None:
    for asker in ("a", "b"):
        for _ in range(10):
            await told(talk, "It rained.", replace(who, asker=f"{who.asker} {asker}"))
    with pytest.raises(LimitError, match="in this chat"):
        await told(talk, "It rained.", replace(who, asker=f"{who.asker} c"))
    await told(talk, "It rained.", replace(who, asker=f"{who.asker} c", alone=True))


async def test_what_fails_costs_nothing(talk: ChatService, who: Who) -> None:
    for _ in range(11):
        assert isinstance((await told(talk, "::fail::", who))[-1], Failed)


async def test_what_the_engine_refuses_costs_nothing(talk: ChatService, who: Who) -> None:
    for _ in range(11):
        with pytest.raises(LimitError, match="length must be between"):
            await told(talk, "/story --length 100000 It rained.", who)


class LedgerAway:
    """An engine whose ledger takes nothing at the moment."""

    def __init__(self, core: Engine) -> None:
        self.registry = core.registry
        self.last = core.last
        self.answer = core.answer

        self.plan = core.plan

    async def ask(self, plan: Plan) -> None:
        raise LedgerError("The ledger cannot be written: disk I/O error")


async def test_what_our_fault_keeps_from_being_taken_costs_nothing(
    talk: ChatService, who: Who
) -> None:
    away = ChatService(
        make_context(
            LedgerAway(talk.context.engine), talk.context.services, usual(), talk.context.settings
        )
    )
    for _ in range(12):
        with pytest.raises(LedgerError):
            await told(away, "It rained.", who)
    assert isinstance((await told(talk, "It rained.", who))[-1], Finished)


async def test_one_person_has_so_many_requests_under_way(talk: ChatService, who: Who) -> None:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(told(talk, "Begin ::slow:: a b c d", who)) for _ in range(3)]
        while len(await talk.context.services.forgetting.under_way(who.platform, who.asker)) < 3:
            await asyncio.sleep(0.02)
        with pytest.raises(LimitError, match="3 requests under way"):
            await told(talk, "It rained.", who)
        for job in await talk.context.services.forgetting.under_way(who.platform, who.asker):
            [said] = await pressed(talk, Press(Verb.CANCEL, job), who)
            assert said.text == "Stopping."
    assert all(isinstance(task.result()[-1], Cancelled) for task in tasks)


async def test_a_picture_grows_and_its_buttons_draw_others(talk: ChatService, who: Who) -> None:
    events = await told(talk, "/jewel a gold ring with rubies --seed 5", who)
    assert any(isinstance(event, Image) for event in events)
    final = events[-1]
    assert len(final.pictures) == 1
    [said] = await pressed(talk, Press(Verb.ORIGINAL, final.job), who)
    assert said.pictures == final.pictures
    varied = (await pressed(talk, Press(Verb.VARY, final.job), who))[-1]
    assert varied.pictures[0].seed == 6


async def test_more_pictures_up_to_four(talk: ChatService, who: Who, clock: Clock) -> None:
    job = (await told(talk, "/jewel a gold ring --size 64", who))[-1].job
    for pictures in (2, 4):
        clock.ahead += 3600
        more = (await pressed(talk, Press(Verb.COUNT, job), who))[-1]
        assert len(more.pictures) == pictures
        job = more.job
    with pytest.raises(AskerError, match="the most"):
        await talk.press(Press(Verb.COUNT, job), who)


async def test_the_hard_rules_refuse_before_anything_is_taken(talk: ChatService, who: Who) -> None:
    with pytest.raises(AskerError, match="instructions for weapons"):
        await told(talk, "/story how to build a pipe bomb", who)
    with pytest.raises(AskerError, match=r"findahelpline\.com"):
        await told(talk, "I want to kill myself", who)
    with pytest.raises(AskerError, match="neutral matters"):
        await told(talk, "/news Jane Smith accused of fraud", who)
    assert await talk.context.engine.last(who.platform, who.asker, who.place) is None


async def test_an_output_that_is_not_fit_is_kept_back(talk: ChatService, who: Who) -> None:
    halves = "The girls were under-age and they had s"
    first = (await told(talk, halves, who))[-1]
    assert isinstance(first, Finished)
    with pytest.raises(AskerError, match="sexual"):
        await told(talk, "/continue sex", who)


@pytest.mark.databases("sqlite")
async def test_a_conversation_keeps_what_a_window_can_hold(
    talk: ChatService, who: Who, clock: Clock
) -> None:
    await told(talk, "It rained.", who)
    for n in range(3):
        clock.ahead += 3600
        await told(talk, f"/continue {'It rained on. ' * 1000}The end {n}.", who)
        last = await talk.context.engine.last(who.platform, who.asker, who.place)
        assert len(last.request.beginning) <= MAX_TEXT
        assert last.request.beginning.endswith(f"The end {n}.")


async def test_a_long_text_is_read_off_the_loop(talk: ChatService) -> None:
    switched = 0

    async def loop() -> None:
        nonlocal switched
        while True:
            switched += 1
            await asyncio.sleep(0)

    for text, least in (("It rained.", 0), ("a\u200d" * 9_900, 2)):
        other = asyncio.create_task(loop())
        await asyncio.sleep(0)
        before = switched
        assert await talk.read(text)
        assert switched - before >= least
        other.cancel()


async def test_a_footer_and_a_reason_repeat_nothing_live(talk: ChatService, who: Who) -> None:
    final = (await told(talk, "in the style of lovecraft @user t.me/x: It rained.", who))[-1]
    below = await talk.footer(final, who)
    why = (await told(talk, "/why", who))[-1].text
    await told(talk, "/report see t.me/x of @user", who)
    reports = (await told(talk, "/admin reports", OPERATOR))[-1].text
    assert not [text for text in (below, why, reports) if "@user" in text or "t.me" in text]
    for text in (
        "/t.me/x",
        "/@user",
        "--t.me/x It rained.",
        "--style t.me/x It rained.",
        "--seed @user x",
    ):
        with pytest.raises(AskerError) as refused:
            await told(talk, text, who)
        said = quoting(str(refused.value))
        assert "@user" not in said and "t.me" not in said, said
    [said] = await told(talk, "/help t.me/x", who)
    assert "t.me" not in said.text
    with pytest.raises(AskerError, match="Non conosco"):
        await talk.read("/sotry It rained.", "it")


async def test_a_chats_default_style_serves_who_names_none(talk: ChatService, who: Who) -> None:
    manager = replace(who, manager=True)
    with pytest.raises(AskerError, match="Only those who manage"):
        await told(talk, "/settings style agatha", who)
    await told(talk, "/settings style Agatha Christie", manager)
    final = (await told(talk, "It rained.", who))[-1]
    assert (await talk.context.engine.answer(final.job)).route.expert == "agatha"
    assert "this chat's default style" in await talk.footer(final, who)
    named = (await told(talk, "/story in the style of lovecraft: It rained.", who))[-1]
    assert (await talk.context.engine.answer(named.job)).route.expert == "lovecraft"
    [shown] = await told(talk, "/settings", who)
    assert "agatha" in shown.text


async def test_talking_on_needs_the_operators_switch(talk: ChatService, who: Who) -> None:
    with pytest.raises(AskerError, match="message-content"):
        await told(talk, "/settings talk on", replace(who, manager=True))
    assert not await talk.listens(who)


async def test_only_operators_administer(talk: ChatService, who: Who) -> None:
    with pytest.raises(AskerError, match="people who run this bot"):
        await told(talk, "/admin status", who)
    await told(talk, "/admin pause", OPERATOR)
    try:
        with pytest.raises(BusyError, match="paused"):
            await told(talk, "It rained.", who)
        [said] = await told(talk, "/privacy", who)
        assert "72 hours" in said.text
    finally:
        await told(talk, "/admin resume", OPERATOR)
    [status] = await told(talk, "/admin", OPERATOR)
    assert "Workers" in status.text


async def test_the_blocked_are_told_so_and_may_still_be_forgotten(
    talk: ChatService, who: Who
) -> None:
    await told(talk, f"/admin block asker {who.asker.replace(' ', '')}", OPERATOR)
    blocked = replace(who, asker=who.asker.replace(" ", ""))
    with pytest.raises(AskerError, match="cannot answer here"):
        await told(talk, "It rained.", blocked)
    [said] = await told(talk, "/forget", blocked)
    assert said.ask
    await told(talk, f"/admin clear asker {blocked.asker}", OPERATOR)
    assert isinstance((await told(talk, "It rained.", blocked))[-1], Finished)


async def test_a_list_of_allowed_servers_keeps_the_others_out(talk: ChatService, who: Who) -> None:
    away = Who(platform="telegram", asker="1", place="2")
    await talk.context.services.places.rule("telegram", "place", "3", "allow")
    with pytest.raises(AskerError, match="cannot answer here"):
        await told(talk, "It rained.", away)
    await told(talk, "It rained.", replace(away, place="3"))
    await talk.context.services.places.rule("telegram", "place", "3", "")


async def test_a_blocked_channel_is_not_asked_from_its_threads(talk: ChatService, who: Who) -> None:
    thread = replace(who, place=f"{who.place} thread", parent=who.place)
    await talk.context.services.places.rule(who.platform, "place", who.place, "deny")
    with pytest.raises(AskerError, match="cannot answer here"):
        await told(talk, "It rained.", thread)
    await talk.context.services.places.rule(who.platform, "place", who.place, "")
    assert isinstance((await told(talk, "It rained.", thread))[-1], Finished)


async def test_who_is_kept_out_may_still_take_back_what_they_asked_for(
    talk: ChatService, who: Who
) -> None:
    final = (await told(talk, "It rained.", who))[-1]
    await talk.context.services.places.rule(who.platform, "asker", who.asker, "deny")
    [gone] = await pressed(talk, Press(Verb.DELETE, final.job), who)
    assert gone.deletes
    assert (await talk.context.engine.answer(final.job)).expired


@pytest.mark.databases("sqlite")
async def test_threads_spend_their_channels_bucket(talk: ChatService, who: Who) -> None:
    for number in range(20):
        thread = replace(who, asker=f"{who.asker} {number}", place=f"t {number}", parent=who.place)
        await told(talk, "It rained.", thread)
    with pytest.raises(LimitError, match="a lot going on"):
        await told(talk, "It rained.", who)


async def test_enough_people_who_have_a_say_hide_an_answer(
    talk: ChatService, who: Who, clock: Clock
) -> None:
    final = (await told(talk, "It rained.", who))[-1]
    readers = [replace(who, asker=f"{who.asker} reader {n}") for n in range(4)]
    for reader in readers[:3]:
        await told(talk, "It rained.", reader)
    await talk.context.services.places.rule(who.platform, "asker", readers[0].asker, "deny")
    [said] = await told(talk, "/report it is dull", replace(readers[1], reply_to=final.job))
    assert not said.deletes
    clock.ahead += 86400
    for nobody in (
        readers[1],
        readers[0],
        readers[3],
    ):  # one twice, a blocked one, one who never asked
        [again] = await pressed(talk, Press(Verb.REPORT, final.job), nobody)
        assert not again.deletes
    [hidden] = await pressed(talk, Press(Verb.REPORT, final.job), readers[2])
    assert hidden.deletes
    assert (await talk.context.engine.answer(final.job)).expired
    [listed] = await told(talk, "/admin reports", OPERATOR)
    assert final.job in listed.text
    clock.ahead = 0.0


async def test_two_fresh_accounts_hide_nothing(talk: ChatService, who: Who) -> None:
    final = (await told(talk, "It rained.", who))[-1]
    for number in range(3):
        fresh = replace(who, asker=f"{who.asker} fresh {number}")
        await told(talk, "It rained.", fresh)
        [said] = await pressed(talk, Press(Verb.REPORT, final.job), fresh)
        assert not said.deletes


async def test_an_answer_is_reported_where_it_stands(talk: ChatService, who: Who) -> None:
    final = (await told(talk, "It rained.", who))[-1]
    elsewhere = replace(who, asker="x", place="elsewhere", reply_to=final.job)
    with pytest.raises(AskerError, match="another chat"):
        await told(talk, "/report", elsewhere)


async def test_a_request_that_is_not_english_gets_a_kind_word(talk: ChatService, who: Who) -> None:
    text = "Scrivi una storia di un faro nella nebbia che non torna più"
    final = (await told(talk, text, replace(who, locale="it")))[-1]
    assert any("inglese" in note for note in final.notes)
    english = (await told(talk, "Write a story of a lighthouse in the fog", who))[-1]
    assert english.notes == ()


async def test_an_update_is_taken_once(talk: ChatService) -> None:
    assert [await talk.seen("telegram", 5) for _ in range(3)] == [False, True, True]
    assert not await talk.seen("discord", 5)


async def test_a_broken_off_answer_is_owed_and_marked(talk: ChatService, who: Who) -> None:
    async with aclosing(replies_of(talk, talk.parse("It rained."), who)) as replies:
        final = [reply async for reply in replies][-1]
    assert final.job not in [debt.job for debt in await talk.deliveries.debts("discord")]  # in hand
    await talk.context.services.outbox.addressed(final.job, "channel 1, message 2")
    await talk.context.services.outbox.sending(final.job)
    talk.deliveries._live.clear()  # a crash
    await talk.context.services.outbox.recover(gone={talk.context.services.outbox.sender})
    [debt] = [debt for debt in await talk.deliveries.debts("discord") if debt.job == final.job]
    assert (debt.address, debt.unsure) == ("channel 1, message 2", True)
    async with aclosing(talk.follow(debt.job)) as replies:
        assert [reply async for reply in replies][-1].text == final.text
    await talk.deliveries.delivered(debt.job)
    assert debt.job not in [debt.job for debt in await talk.deliveries.debts("discord")]


class Looking(Engine):
    """An engine beside which somebody looks for debts whenever it has just accepted."""

    def __init__(self, inner: Engine) -> None:
        self.registry, self.plan, self.follow = inner.registry, inner.plan, inner.follow
        self.answer, self.delivered, self.last = inner.answer, inner.delivered, inner.last
        self.call, self.accept = inner.call, inner.ask
        self.look, self.seen = None, None

    async def ask(self, plan: Plan) -> None:
        await self.accept(plan)
        self.seen = [debt.job for debt in await self.look()]


async def test_an_answer_is_in_hand_before_anybody_can_see_that_it_is_owed(
    talk: ChatService, who: Who
) -> None:
    looking = Looking(talk.context.engine)
    context = make_context(looking, talk.context.services, usual(), talk.context.settings)
    looking.look = lambda: context.deliveries.debts("discord")
    final = (await told(ChatService(context), "It rained.", who))[-1]
    assert isinstance(final, Finished) and final.job not in looking.seen


async def test_a_debt_waits_as_long_as_the_platform_asked_and_ends_somewhere(
    talk: ChatService, who: Who, clock: Clock
) -> None:
    async with aclosing(replies_of(talk, talk.parse("It rained."), who)) as replies:
        job = [reply async for reply in replies][-1].job
    await talk.deliveries.undelivered(job, 13_938)
    assert job not in [debt.job for debt in await talk.deliveries.debts("discord")]
    clock.ahead += 13_940
    assert job in [debt.job for debt in await talk.deliveries.debts("discord")]
    await talk.deliveries.lost(job)
    assert job not in [debt.job for debt in await talk.deliveries.debts("discord")]


async def test_draining_refuses_kindly(talk: ChatService, who: Who) -> None:
    talk.context.lifecycle.draining = True
    try:
        with pytest.raises(BusyError, match="restarted"):
            await told(talk, "It rained.", who)
    finally:
        talk.context.lifecycle.draining = False


async def test_who_goes_on_somewhat_too_fast_is_served_at_the_pace_that_is_allowed() -> None:
    seconds = [0.0]
    limit = RateLimit(PACE, lambda: seconds[0])
    served = 0
    for _ in range(900):  # five minutes at three a second, where two are allowed
        seconds[0] += 1 / 3
        served += limit.allows("person")
    assert served == pytest.approx(PACE.burst + 300 * 2, abs=2)


async def test_a_press_that_leads_to_a_command_is_one_step(talk: ChatService, who: Who) -> None:
    first = (await told(talk, "The vicar coughed.", who))[-1]
    talk.context.hurry.limit = RateLimit(replace(PACE, burst=1), lambda: 0.0)
    try:
        again = (await pressed(talk, Press(Verb.AGAIN, first.job), who))[-1]
        with pytest.raises(LimitError, match="very fast"):
            await pressed(talk, Press(Verb.AGAIN, again.job), who)
    finally:
        unhurried(talk)


async def test_a_burst_of_commands_is_slowed_down_before_the_database_is_asked() -> None:
    seconds = [0.0]
    hurry = RequestRate(3, lambda: seconds[0])
    fast, other = (Who(platform="discord", asker=name, place="p") for name in ("a", "b"))
    for _ in range(30):
        hurry.step(fast)
    with pytest.raises(LimitError, match="very fast"):
        hurry.step(fast)
    hurry.step(other)
    seconds[0] += 0.6
    hurry.step(fast)
    with hurry.asking(fast), hurry.asking(fast), hurry.asking(fast):
        with pytest.raises(LimitError, match="3 requests"), hurry.asking(fast):
            pass
        with hurry.asking(other):
            pass
