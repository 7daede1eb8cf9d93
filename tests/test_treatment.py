"""Ordinary requests in a study: an arm that nobody is told of, a rating, a thumb on record."""

# ruff: noqa: F811 - pytest finds fixtures by their names

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from experimenting import experiment_text
from studied import agree, clock, make_study, study_counts, talk  # noqa: F401 - fixtures
from talking import pressed, told
from test_comparing import person, rows

from bot.messages.buttons import Press, Verb
from engine.errors import AskerError
from engine.settings import Settings
from engine.study.experiments.tables import Enrolment, Exposure, QuestionnaireAnswer
from engine.study.tables import InteractionRow, StudyRatingRow

pytestmark = pytest.mark.asyncio(loop_scope="module")
RATING = '[rating]\ntext = "How was it?"\npoints = 5\n'


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A study with an experiment whose arms are for ordinary requests on Discord."""
    folder: Path = tmp_path_factory.mktemp("treatment")
    made = Settings(home=folder / "home", backend="echo", key_file=folder / "key", study="pilot")
    experiments = make_study(made.home) / "experiments"
    experiments.mkdir()
    tables = f'{RATING}\n[eligible]\nplatforms = ["discord"]'
    text = experiment_text("arms", "single", more="exposures = 2", tables=tables)
    (experiments / "arms.toml").write_text(text)
    yield made


async def test_ordinary_requests_get_their_arm_without_being_told_which(talk) -> None:
    texts, arms = {}, {}
    for name in ("30", "31", "32", "33"):
        who = person(name, "discord")
        await agree(talk, who)
        *_, final = await told(talk, "/story They sat alone in the room.", who)
        [enrolment] = await rows(
            talk, Enrolment, unit=talk.context.services.study.study.pseudonym("discord", name)
        )
        arms[name], texts[name] = enrolment.arm, final.text
        footer = await talk.footer(final, who)
        assert "Lovecraft" not in footer and "part of an experiment" in footer
        [seen] = await rows(talk, InteractionRow, job_id=final.job)
        [row] = await rows(talk, Exposure, id=seen.id)
        assert (row.kind, row.state, row.experiment) == ("single", "delivered", "arms")
        assert (seen.experiment, seen.arm, seen.plain) == (
            "arms",
            enrolment.arm,
            enrolment.arm == "base",
        )
    enrolled = await rows(talk, Enrolment, experiment="arms")
    assert Counter((row.block, row.arm) for row in enrolled).most_common(1)[0][1] <= 2, "of four"
    for name, text in texts.items():
        assert text.startswith("room. the in") == (arms[name] == "base")


async def test_what_goes_on_from_outside_the_study_has_no_arm(talk) -> None:
    who = person("37", "discord")
    await agree(talk, who)
    before = await study_counts(talk)
    *_, final = await told(talk, "/story My secret is Zyzzyva.", replace(who, borrowed=True))
    for command in ("/again", "/continue And then?"):
        *_, final = await told(talk, command, replace(who, reply_to=final.job))
    assert await study_counts(talk) == before
    assert "part of an experiment" not in await talk.footer(final, who)


async def test_a_treated_answer_is_rated_by_buttons_that_name_no_row_of_the_study(talk) -> None:
    who = person("34", "discord")
    await agree(talk, who)
    *_, final = await told(talk, "/story They sat alone in the room.", who)
    question = await talk.context.handlers.study.chat.questions.rating(final.job, who)
    assert question is not None and "How was it?" in question.text
    press = question.rows[0][4].press
    [thanks] = await pressed(talk, press, who)
    assert thanks.replaces and "Thank you" in thanks.text
    [seen] = await rows(talk, InteractionRow, job_id=final.job)
    [answer] = await rows(talk, QuestionnaireAnswer, instrument="rating")
    assert answer.about == seen.id and answer.value == "5"
    assert seen.id not in press.argument, "it stands in the chat when the key is gone"
    with pytest.raises(AskerError, match="closed"):
        await pressed(talk, replace(press, argument=press.argument[:-1] + "!"), who)


async def test_the_study_keeps_a_thumb_down(talk) -> None:
    who = person("35")
    await agree(talk, who)
    *_, final = await told(talk, "/story They sat alone in the room.", who)
    await pressed(talk, Press(Verb.DOWN, final.job), who)
    [seen] = await rows(talk, InteractionRow, job_id=final.job)
    ratings = await rows(talk, StudyRatingRow, interaction_id=seen.id)
    assert [rating.value for rating in ratings] == [-1]
