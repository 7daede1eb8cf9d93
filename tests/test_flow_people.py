"""People of one flow, each after those before: the start link, the quotas, the items, the code."""

# ruff: noqa: F811 - pytest finds fixtures by their names

from collections import Counter

import pytest
from flows import buttons, judged, labelled, press, say
from studied import agree, clock, talk  # noqa: F401 - fixtures
from talking import told
from test_comparing import person, rows
from test_flow import begun, here  # noqa: F401 - a fixture

from bot.messages.buttons import Verb
from bot.service.service import ChatService
from engine.errors import AskerError
from engine.study.experiments.tables import Enrolment, Exposure, PanelId, QuestionnaireAnswer


async def a_flow_leads_from_the_panels_link_through_every_step_to_one_code(talk) -> None:
    who = person("1")
    form = await say(talk, "/study join PROLIFIC 7&x", who)
    assert "study by" in form.text, "consent comes first"
    for choice in (0, 0, 0, 0, 0):
        form = await press(talk, form.ask[choice].press, who)
    said = await press(talk, labelled(form, "Begin"), who)
    assert "How often" in said.text
    said = await press(talk, labelled(said, "often"), who)
    said = await press(talk, labelled(said, "Poe"), who)
    said = await press(talk, labelled(said, "Austen"), who)
    said = await press(talk, labelled(said, "Done"), who)
    assert "How old" in said.text
    with pytest.raises(AskerError, match="cannot read that"):
        await told(talk, "twelve", who)
    said = await say(talk, "44", who)
    assert "person, or by a machine" in said.text and "training" in said.text
    said = await judged(talk, said, who)
    kinds = []
    while "Anything else" not in said.text:
        kinds.append(next(iter(buttons(said).values())).verb)
        said = await judged(talk, said, who)
    assert Counter(kinds) == {Verb.VOTE: 2, Verb.GUESS: 2, Verb.ANSWER: 2}
    with pytest.raises(AskerError, match="I hope you are not alone with it"):
        await told(talk, "It was fine, and I want to kill myself.", who)
    end = await say(talk, "I liked @jane_doe's best", who)
    [enrolment] = await rows(talk, Enrolment, experiment="tell")
    assert f"Your completion code: {enrolment.code}" in end.text
    assert f"cc={enrolment.code}&who=PROLIFIC%207%26x" in end.text.replace("\u200b", "").replace(
        "[:]", ":"
    )
    assert enrolment.completed_at and enrolment.stratum == "often" and enrolment.excluded is None
    said = {row.question: row for row in await rows(talk, QuestionnaireAnswer, experiment="tell")}
    assert said["which"].value == "Poe; Austen" and said["age"].value == "44"
    assert (said["remarks"].value, said["remarks"].words) == ("typed", "I liked [user]'s best")
    assert all(row.seconds is not None for row in said.values() if row.question != "debrief")
    exposures = await rows(talk, Exposure, experiment="tell")
    assert Counter((one.step, one.state) for one in exposures) == {
        ("practice", "void"): 1, ("pairs", "voted"): 2, ("tell", "voted"): 2, ("rate", "voted"): 1,
    }  # fmt: skip
    assert all(one.visible["platform"] == "terminal" for one in exposures)
    again = await say(talk, "/study join", who)
    assert enrolment.code in again.text, "who comes again has the same code"


async def who_leaves_in_the_middle_finds_the_same_item_again(talk) -> None:
    who = person("2")
    said = await begun(talk, who, "P2")
    shown = await say(talk, "/study join P2", who)
    assert shown.text == said.text
    assert (await say(talk, "/guess", who)).text == said.text, "/guess is no way around it"
    [open_one] = [
        row for row in await rows(talk, Exposure, step="practice") if row.state == "delivered"
    ]
    assert open_one.shown[0]["kind"] in ("real", "generated")


async def a_panel_id_is_one_persons_and_the_first_of_theirs_stands(talk) -> None:
    who, other = person("2"), person("2b")
    assert "that one stands" in (await say(talk, "/study join ANOTHER", who)).text
    await agree(talk, other)
    with pytest.raises(AskerError, match="belongs to somebody who takes part"):
        await told(talk, "/study join P2", other)
    assert sorted(row.panel for row in await rows(talk, PanelId)) == ["P2", "PROLIFIC 7&x"]
    assert await talk.context.services.study.panel.listed() == sorted(
        [
            ("P2", (await code(talk, "2")), "not done"),
            ("PROLIFIC 7&x", await code(talk, "1"), "done"),
        ]
    )


async def code(talk: ChatService, name: str) -> str:
    unit = talk.context.services.study.study.pseudonym("terminal", name)
    [row] = await rows(talk, Enrolment, unit=unit)
    return row.code


async def who_is_one_too_many_of_a_stratum_is_told_so_and_takes_nobodys_place(talk) -> None:
    who = person("3")  # two who read often are there
    await agree(talk, who)
    said = await say(talk, "/study join P3", who)
    said = await press(talk, labelled(said, "often"), who)
    assert "has no place left for you" in said.text and "code" not in said.text
    said = await begun(talk, person("4"), "P4", reads="never")
    assert "training" in said.text


async def no_item_is_met_twice_and_versions_are_met_as_often(talk) -> None:
    exposures = [
        row for row in await rows(talk, Exposure, experiment="tell") if row.step != "practice"
    ]
    met = [(row.pseudonym, one["stimulus"]) for row in exposures for one in row.shown[:1]]
    assert len(set(met)) == len(met)


@pytest.mark.asyncio(loop_scope="module")
async def test_people_of_one_flow_in_their_order(talk) -> None:
    """One test, for each claim is about people who came before."""
    await a_flow_leads_from_the_panels_link_through_every_step_to_one_code(talk)
    await who_leaves_in_the_middle_finds_the_same_item_again(talk)
    await a_panel_id_is_one_persons_and_the_first_of_theirs_stands(talk)
    await who_is_one_too_many_of_a_stratum_is_told_so_and_takes_nobodys_place(talk)
    await no_item_is_met_twice_and_versions_are_met_as_often(talk)
