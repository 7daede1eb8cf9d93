"""Stimuli: frozen once somebody met them, judged evenly, and taken out only by name."""

import asyncio
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from experimenting import agree, person, spot
from flows import FLOW, make_flow, pool, pool_text
from program import pastiche
from talking import Clock

from engine.errors import SetupError
from engine.ledger.ledger import Ledger
from engine.ledger.storage import open_database
from engine.settings import Settings
from engine.study.experiments.eligibility import Candidate
from engine.study.experiments.stimuli import read_pool
from engine.study.export.dataset import read_study
from engine.study.lifecycle import close_study
from engine.study.study import open_study
from engine.study.study_services import StudyServices

ASKING = Candidate(task="flow")


async def opened(settings: Settings, ledger, text: str = FLOW) -> StudyServices:
    folder = settings.home / "studies" / "pilot"
    if not folder.exists():
        make_flow(settings.home, text)
    study = await open_study(settings.model_copy(update={"study": "pilot"}), ledger)
    assert study is not None
    services = StudyServices(ledger, study, folder)
    await services.open()
    return services


async def enrolled(of: StudyServices, name: str):
    database = of.experiments.database
    await agree(database, of.study, "terminal", name)
    who = await person(database, of.study, spot(name))
    found = await of.enrolled(who, spot(name), ASKING)
    assert found is not None
    return found, who


async def judge(of: StudyServices, name: str, step: str, count: int) -> list[str]:
    """What somebody judges in a step, in order."""
    found, who = await enrolled(of, name)
    met = []
    for _ in range(count):
        made = await of.flow.trial(found, found.experiment.step_named(step), who)
        if made is None:
            break
        met.append((await of.exposures.get(made)).shown[0]["stimulus"])
        await of.exposures.delivered(made)
        assert await of.exposures.vote(made, who, "a", reveal=True)
    return met


async def test_each_stimulus_stands_at_each_place_as_often(settings, ledger) -> None:
    of = await opened(settings, ledger, FLOW)
    met = [await judge(of, str(n), "pairs", 2) for n in range(6)]
    for place in (0, 1):
        assert Counter(one[place] for one in met) == {f"s{n}": 1 for n in range(6)}


async def test_of_three_versions_a_stimulus_is_met_as_every_pair(settings, ledger) -> None:
    """Of three stimuli every third unit meets the same one first, which shall not settle the pair."""
    two, folder = pool("manner", 3), make_flow(settings.home, FLOW)
    third = {"arm": "other", "text": "It rained once more on the harbour, and nobody came. " * 3}
    items = [*two, *(item.model_copy(update=third) for item in two if item.arm == "model")]
    (folder / "stimuli/manner.items.toml").write_text(pool_text(items))
    of, met = await opened(settings, ledger), set[tuple[str, ...]]()
    one, who = await enrolled(of, "1")
    step = one.experiment.step_named("pairs")
    for number in range(40):
        unit = replace(one, unit=str(number), position=3 * number)
        drawn = await of.stimuli.draw(unit, step, who, 0)
        met.add((drawn[0].stimulus, *sorted(item.arm for item in drawn)))
    assert len({stimulus for stimulus, *_ in met}) == 1 and len(met) == 3


async def test_no_stimulus_is_judged_by_more_than_are_asked_for(settings, ledger) -> None:
    of = await opened(settings, ledger, FLOW.replace("seen_by = 20", "seen_by = 1"))
    met = [await judge(of, str(n), "pairs", 4) for n in range(3)]
    assert sorted(name for one in met for name in one) == [f"s{n}" for n in range(6)]
    assert [len(one) for one in met] == [4, 2, 0], "the third finds nothing left"


@pytest.mark.parametrize("step", ["pairs", "rate"])
async def test_people_who_draw_at_one_moment_get_no_item_too_often(settings, ledger, step) -> None:
    of = await opened(settings, ledger, FLOW.replace("seen_by = 20", "seen_by = 1"))
    met = [await enrolled(of, str(n)) for n in range(9)]
    drawn = (of.flow.trial(one, one.experiment.step_named(step), who) for one, who in met)
    made = [name for name in await asyncio.gather(*drawn) if name]
    items = Counter([(await of.exposures.get(name)).shown[0]["item"] for name in made])
    assert len(items) == len(made) == (6 if step == "pairs" else 9) and set(items.values()) == {1}


async def test_a_check_failed_beside_an_item_excludes_as_one_elsewhere_does(
    settings, ledger
) -> None:
    of = await opened(settings, ledger)
    for name, said in (("1", "1"), ("2", "2")):  # the second and third choice of five
        found, who = await enrolled(of, name)
        made = await of.flow.trial(found, found.experiment.step_named("rate"), who)
        assert made is not None
        while (asked := await of.questionnaires.next(found, "rate", who, made)) is not None:
            await of.questionnaires.answer(found, "rate", who, asked.place, said, made)
        await of.flow.finish(found, who)
    marked = [row.excluded for row in await of.experiments.progress()]
    assert sorted(marked, key=bool) == [None, "attention checks failed: 1"]


async def test_who_finds_nothing_left_in_a_step_goes_on_with_a_comparison_of_their_own(
    settings, ledger
) -> None:
    own = '[[step]]\nkind = "compare"\nid = "own"\n\n[[step]]\nkind = "questions"\nid = "last"'
    text = FLOW.replace('[[step]]\nkind = "questions"\nid = "last"', own)
    text = text.replace("seen_by = 20", "seen_by = 1")
    text += '[[arms]]\nname = "lora"\n\n[[arms]]\nname = "base"\nplain = true\n'
    of = await opened(settings, ledger, text)
    for item in of.stimuli.pools["manner"] + of.stimuli.pools["training"]:
        assert await of.stimuli.retire(item.id)
    found, who = await enrolled(of, "1")
    while (asked := await of.questionnaires.next(found, "before", who)) is not None:
        said = "1" if asked.question.required else "none"
        assert await of.questionnaires.answer(found, "before", who, asked.place, said)
    mine = await of.enrolled(who, spot("1"), Candidate(task="compare", command="story"))
    assert mine is not None and (mine.id, mine.step) == (found.id, "own")


async def test_each_arm_stands_first_as_often_within_a_person_whatever_they_met_before(
    settings, ledger
) -> None:
    of = await opened(settings, ledger, FLOW.replace("seen_by = 20", "seen_by = 0"))
    for number in range(8):
        await judge(of, str(number), "practice", 1)
        await judge(of, str(number), "pairs", 2)
        _, who = await enrolled(of, str(number))
        seen = await of.exposures.shown_to(who, "tell")
        assert {row.shown[0]["arm"] for row in seen if len(row.shown) == 2} == {"person", "model"}


async def test_practice_excludes_nobody(settings, ledger) -> None:
    of = await opened(settings, ledger, FLOW.replace("failed_checks = 1", "unblinded = true"))
    for step in ("practice", "pairs"):
        found, who = await enrolled(of, step)
        made = await of.flow.trial(found, found.experiment.step_named(step), who)
        await of.exposures.delivered(made)
        practice = step == "practice"
        assert await of.exposures.vote(made, who, "a", unblinded=True, practice=practice)
        await of.flow.finish(found, who)
    marked = [row.excluded for row in await of.experiments.progress()]
    assert sorted(marked, key=bool) == [None, "a model named itself"]


async def test_a_clock_that_jumps_back_loses_no_vote_and_excludes_nobody(settings, ledger) -> None:
    clock = Clock()
    own = Ledger(await open_database(settings), settings.media, clock)
    of = await opened(settings, own, FLOW.replace("failed_checks = 1", "faster_seconds = 9"))
    for name, jump in (("back", -3600.0), ("quick", 0.001)):
        found, who = await enrolled(of, name)
        made = await of.flow.trial(found, found.experiment.step_named("pairs"), who)
        await of.exposures.delivered(made)
        for said in "ab":
            clock.ahead += jump
            assert await of.exposures.vote(made, who, said)
        assert (await of.exposures.get(made)).choice == "b"
        await of.flow.finish(found, who)
    marked = [row.excluded for row in await of.experiments.progress()]
    assert sorted(marked, key=bool) == [None, "a vote within 9 seconds"]
    reading = await read_study(own, "pilot")
    assert {row["choice"] for row in reading.tables["votes"] if row["counts"]} == {"b"}
    await own.close()


async def test_a_pool_that_was_met_is_frozen_and_a_changed_file_is_named(settings, ledger) -> None:
    of = await opened(settings, ledger)
    path = settings.home / "studies" / "pilot" / "stimuli" / "manner.items.toml"
    path.write_text(pool_text(pool("manner", 4)))
    of = await opened(settings, ledger)
    assert not of.experiments.problems and len(of.stimuli.pools["manner"]) == 8, "nobody met it yet"
    await judge(of, "1", "pairs", 1)
    path.write_text(pool_text(pool("manner", 3)))
    of = await opened(settings, ledger)
    assert "manner.items.toml was changed after people had met" in of.experiments.problems[0]
    assert len(of.stimuli.pools["manner"]) == 8
    path.unlink()
    of = await opened(settings, ledger)
    assert len(of.stimuli.pools["manner"]) == 8 and of.experiments.named("tell") is not None


async def test_a_flow_without_its_stimuli_is_not_used_and_named(settings, ledger) -> None:
    make_flow(settings.home, FLOW.replace('"training"', '"trainings"'))
    of = await opened(settings, ledger)
    assert of.experiments.named("tell") is None
    assert of.experiments.problems == ["tell: there are no stimuli trainings."]


async def test_an_item_that_is_retired_is_shown_to_nobody_any_more(settings, ledger) -> None:
    of = await opened(settings, ledger)
    for item in of.stimuli.pools["manner"][:-2]:
        assert await of.stimuli.retire(item.id[:12])
    assert not await of.stimuli.retire("nothing")
    assert await judge(of, "1", "pairs", 2) == ["s5"]


async def test_a_closed_study_takes_nobody_in_and_invites_nobody(settings, ledger) -> None:
    of = await opened(settings, ledger)
    await enrolled(of, "1")
    [row] = await of.experiments.progress()
    assert (row.experiment, row.completed_at, row.judged) == ("tell", None, 0)
    await close_study(ledger, "pilot")
    for one in (of, await opened(settings, ledger)):  # here, and in every other process
        assert await one.person(spot("1")) is None


def test_a_picture_that_is_another_is_named(tmp_path: Path) -> None:
    items = [replace_text(item) for item in pool("rings", 1)]
    path = tmp_path / "rings.items.toml"
    path.write_text(pool_text(items))
    with pytest.raises(SetupError, match="is not there, or another one"):
        read_pool(path)


def replace_text(item):
    return item.model_copy(update={"text": "", "picture": "ab" * 32})


async def test_by_commands_a_flow_is_checked_and_watched_an_item_retired_and_the_study_closed(
    settings, ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside a bot that runs, from the folder where the file lies."""
    of = await opened(settings, ledger)
    await enrolled(of, "1")
    [item, *_] = of.stimuli.pools["manner"]
    monkeypatch.setenv("PASTICHE_STUDY", "pilot")
    monkeypatch.chdir(settings.home / "studies" / "pilot" / "experiments")

    def study(*words: str) -> str:
        ran = pastiche("study", *words, PASTICHE_HOME=str(settings.home))
        assert ran.returncode == 0, (words, ran)
        return ran.stdout.decode()

    assert "tell.toml: read" in study("lint", "tell.toml")
    changed = FLOW.replace("max_n = 50", "max_n = 49") + "[eligible]\nminimum_age = 19\n"
    Path("tell.toml").write_text(changed)
    ran = pastiche("study", "lint", "tell.toml", PASTICHE_HOME=str(settings.home))
    assert ran.returncode == 2
    assert b"cannot run: it was changed after people came in" in ran.stdout
    assert b"cannot run: eligible.minimum_age" in ran.stdout, "study.toml asks for 18"
    watched = study("watch", "--once")
    assert "tell" in watched and "excluded" in watched
    assert study("items", "retire", item.id[:20]) == f"{item.id[:20]} is retired.\n"
    assert item.id not in await of.stimuli.active("manner")
    assert study("close") == "pilot is closed; units that were enrolled: 1.\n"
    assert not await of.experiments.running(of.experiments.named("tell"))
