"""Experiments: a file with every mistake named, frozen at the first unit; arms that stay."""

import asyncio
import re
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from experimenting import agree, experiment_text, folder_of, opened, person, spot, with_study
from program import pastiche

from engine.errors import SetupError
from engine.plan.job import Spot
from engine.study.consent.account_links import join, new_code
from engine.study.consent.consent import withdraw
from engine.study.consent.participants import person_at
from engine.study.design.checks import overlaps, warnings_of
from engine.study.design.experiment_file import parse_experiment
from engine.study.erasure_rules import erase
from engine.study.experiments.eligibility import Candidate
from engine.study.experiments.enrolment import Enrolled
from engine.study.experiments.experiment import Arm, Eligible, Exclusion, Experiment, Quota
from engine.study.experiments.questions import Question
from engine.study.experiments.steps import Step
from engine.study.experiments.tables import Enrolment, ExperimentRow
from engine.study.export.dataset import read_study
from engine.study.lifecycle import destroy_key
from engine.study.study_services import StudyServices
from engine.study.tables import StudyPlaceRow

ASKED = '[[before]]\nid = "q"\ntext = "?"\n'
BOTH = pytest.mark.databases("sqlite", "postgres")


def mistakes_in(text: str) -> str:
    with pytest.raises(SetupError) as caught:
        parse_experiment(text, "pilot.toml")
    return str(caught.value)


def test_a_whole_experiment_is_read() -> None:
    questions = '[[before]]\nid = "age"\ntext = "How old?"\nkind = "choice"\nchoices = ["18", "30"]'
    experiment = parse_experiment(experiment_text(tables=questions), "pilot.toml")
    assert experiment.weights == {"base": 1, "lora": 1}
    assert experiment.before[0].values == ("18", "30")
    assert parse_experiment(experiment_text(task="compare"), "x").weights == {"base+lora": 1}


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ('task = "single"', "task: is missing"),
        ("max_n = 1000", "max_n: is missing"),
    ],
)
def test_what_is_missing_is_named(wrong: str, told: str) -> None:
    assert told in mistakes_in(experiment_text().replace(wrong, ""))


@pytest.mark.parametrize(
    ("more", "tables", "told"),
    [
        ('colour = "red"', "", "colour: there is no such key; here are: id, title"),
        (
            'unit = "dog"',
            "",
            "unit: must be 'person', 'request' or 'place' (there stands 'dog')",
        ),
        (
            "exposures = 0",
            "",
            "exposures: must be greater than or equal to 1 (there stands 0)",
        ),
        ("", 'name2 = "x"', "arms.1.name2: there is no such key; here are: name, expert"),
        ("", "sampling = {heat = 1}", "arms.1: sampling has no heat; there are temperature"),
        ("", '[[arms]]\nname = "base"', "arms: every arm needs a name of its own"),
        ("", '[[before]]\nid = "q"\ntext = "?"\nkind = "choice"', "need choices"),
        ('preregistration2 = "x"', "", "preregistration2: there is no such key"),
        ("", ASKED + 'kind = "number"\ncheck = "thirty"', "check: 'thirty' is no answer to it"),
        ("", ASKED + 'kind = "number"\ncheck = "30.0"', "check: '30.0' is no answer to it"),
        ("", ASKED + 'kind = "number"\nminimum = 9\nmaximum = 3', "minimum: is above maximum"),
        ("", ASKED + 'kind = "choice"\nchoices = ["a", "a"]', "choices: each stands there once"),
        ("", '[[rating]]\ntext = "?"', "rating: must be one table, as [table]."),
        ("", "[before]", "before: must be a list, as [1, 2], or of tables, each as [[table]]"),
        ("", ASKED + 'points = "x"', "before.0.points: must be a whole number (there stands 'x')"),
        ('unit = "place"', "[exclude]\nfewer_exposures = 2", "it is for the unit person"),
        ('unit = "request"', '[rating]\ntext = "?"', "ratings and codes are for the unit person"),
    ],
)
def test_every_mistake_is_named_with_what_is_allowed(more: str, tables: str, told: str) -> None:
    assert told in mistakes_in(experiment_text(more=more, tables=tables))


def test_all_mistakes_are_told_at_once() -> None:
    told = mistakes_in(experiment_text(more='unit = "dog"\nallocation = "coin"'))
    assert "unit:" in told and "allocation:" in told


def test_what_is_allowed_but_likely_not_meant_is_warned_of(registry) -> None:
    tables = 'expert = "nobody"\n[exclude]\nfewer_exposures = 11'
    text = experiment_text(more='allocation = "simple"', tables=tables)
    text = text.replace("max_n = 1000", "max_n = 40").replace("2099-12-31", "2020-02-01")
    told = "\n".join(warnings_of(parse_experiment(text, "x"), registry, 1.8e9))
    assert "no expert nobody" in told and "blocks" in told and "does not run today" in told
    assert "more than exposures" in told


def test_lint_says_what_cannot_run_where_a_mistake_stands_and_what_was_meant(registry) -> None:
    told = mistakes_in(experiment_text(more='exposure = 3\npreregistration2 = "x"'))
    assert "line 10, exposure: there is no such key" in told and "Did you mean exposures?" in told
    told = mistakes_in(experiment_text(tables="sampling = { temperature = 40 }"))
    assert "sampling.temperature: must be less than or equal to 5, not 40" in told
    assert "line 16, arms.1" in told, "the second arm begins there"
    told = mistakes_in(experiment_text().replace("https://osf.io/abcde", "osf"))
    assert (
        "preregistration: must be an address that begins with https:// (there stands 'osf')" in told
    )

    def warned(text: str) -> str:
        return "\n".join(warnings_of(parse_experiment(text, "x"), registry, 1.8e9))

    told = warned(experiment_text(tables='[eligible]\nexperts = ["lovcraft"]'))
    assert (
        "cannot run: eligible.experts: there is no expert lovcraft here. Did you mean love" in told
    )
    told = warned(experiment_text(tables='[eligible]\nexperts = ["jewel", "lovcraft"]'))
    assert "cannot run" not in told and "no expert lovcraft here. Did you mean lovecraft?" in told
    assert "80 guesses" not in warned(experiment_text(task="guess", more="exposures = 80"))
    assert "120 guesses, and the shipped pool has 100" in warned(
        experiment_text(task="guess", more="exposures = 120")
    )


@pytest.mark.parametrize(
    ("base", "lora", "tables", "cannot"),
    [
        ("lovecraft", "poe", "", False),
        ("lovecraft", "jewel", "", True),
        ("lovecraft", "", '[eligible]\ncommands = ["jewel", "news"]', True),
        ("", "", '[eligible]\ncommands = ["news"]\nexperts = ["lovecraft"]', True),
        ("", "", '[eligible]\ncommands = ["story"]\nexperts = ["lovecraft"]', False),
    ],
)
@pytest.mark.parametrize("task", ["single", "compare"])
def test_lint_says_where_no_request_is_for_all_arms(
    registry, task: str, base: str, lora: str, tables: str, cannot: bool
) -> None:
    text = experiment_text(task=task, tables=tables)
    for name, expert in (("base", base), ("lora", lora)):
        text = text.replace(f'name = "{name}"', f'name = "{name}"\nexpert = "{expert}"')
    told = "\n".join(warnings_of(parse_experiment(text, "x"), registry, 0))
    assert ("cannot run: eligible takes in no request that all arms can answer" in told) == cannot


def test_lint_warns_of_what_changes_nothing_and_of_an_age_that_nobody_can_show(registry) -> None:
    def told(tables: str, age: int | None = None) -> str:
        read = parse_experiment(experiment_text(tables=tables), "x")
        return "\n".join(warnings_of(read, registry, 0, age))

    assert "temperature changes nothing" in told('expert = "jewel"\nsampling = {temperature = 1}')
    assert "guidance changes nothing" in told('expert = "poe"\nsampling = {guidance = 3}')
    assert "changes nothing" not in told("sampling = {temperature = 1, guidance = 3}")
    old = "[eligible]\nminimum_age = 30"
    assert "nobody is taken in, unless study.toml asks for minimum_age = 30" in told(old)
    assert "cannot run: eligible.minimum_age" in told(old, 18)
    assert "minimum_age" not in told(old, 30)


def test_lint_names_the_words_that_are_missing_in_italian(registry) -> None:
    asked = '[[after]]\nid = "liked"\ntext = "Good?"\ntext_it = "Bello?"\nlow = "no"\n'

    def told(tables: str) -> str:
        return "\n".join(
            warnings_of(parse_experiment(experiment_text(tables=tables), "x"), registry, 0)
        )

    assert "said in English: title_it, debrief_it, after.liked.low_it." in told(asked)
    assert "Italian" not in told(asked + '[eligible]\nlocales = ["en"]\n')


def test_lint_names_experiments_that_overlap() -> None:
    def of(name: str, locale: str, start: str = "2020-01-01") -> Experiment:
        text = experiment_text(name, tables=f'[eligible]\nlocales = ["{locale}"]')
        return parse_experiment(text.replace("2020-01-01", start), name)

    both = of("a", "it"), of("b", "it"), of("c", "en")
    assert [line[:19] for line in overlaps(both)] == ["a and b overlap: no"]


def test_a_question_is_asked_in_italian_and_kept_in_english() -> None:
    asked = Question(
        id="q", text="How much?", text_it="Quanto?", kind="choice", choices=("a lot", "little"),
        choices_it=("molto", "poco"),
    )  # fmt: skip
    assert (asked.label("little", "it-IT"), asked.label("little", "en")) == ("poco", "little")
    assert asked.words("it") == "Quanto?" and asked.values == ("a lot", "little")


def test_the_guide_names_every_key_of_an_experiment() -> None:
    guide = (Path(__file__).parents[1] / "docs/study.md").read_text(encoding="utf-8")
    section = guide.partition("\n## 4.")[2].partition("\n## 5.")[0]
    table = "".join(line for line in section.splitlines() if line.startswith("|"))
    told = set(re.findall(r"\w+", " ".join(re.findall("`(.+?)`", table))))
    parts = (Experiment, Arm, Eligible, Exclusion, Question, Quota, Step)
    assert {name for part in parts for name in part.model_fields} <= told


async def enrol(experiments, where, unit: str = ""):
    found = await person(experiments.database, experiments.study, where)
    [experiment] = experiments.fitting(where, Candidate(task="single", command="story"))
    chosen = found.place if experiment.unit == "place" else found.root
    return await experiments.enrol(experiment, unit or chosen, found)


@BOTH
@pytest.mark.parametrize("root", ["terminal", "discord"])
async def test_an_arm_stays_across_restarts_and_linked_accounts(settings, ledger, root) -> None:
    """Whichever account says the other's code: that one's name stands for both."""
    settings = with_study(settings, experiment_text())
    study = (await opened(settings, ledger)).study
    for platform in ("terminal", "discord"):
        await agree(ledger, study, platform, "1", linkage=True)

    async def after_a_restart(where: Spot) -> Enrolled | None:
        services = StudyServices(ledger, study, folder_of(settings).parent)
        await services.experiments.load()
        asking = Candidate(task="single", command="story")
        return await services.enrolled(await person(ledger, study, where), where, asking)

    one = await after_a_restart(spot())
    names = [study.pseudonym(platform, "1") for platform in ("terminal", "discord")]
    there, here = names if root == "terminal" else names[::-1]
    async with ledger.writing() as connection:
        code = await new_code(connection, study, there, ledger.clock())
        assert await join(connection, study, here, code, ledger.clock()) == "joined"
    assert one is not None and one.new
    found = [await after_a_restart(where) for where in (spot(), spot(platform="discord"))]
    async with ledger.writing() as connection:
        await erase(connection, [names[1]], standing=True)  # the other account is forgotten
    for again in (*found, await after_a_restart(spot())):
        assert again is not None and not again.new
        assert (again.id, again.arm) == (one.id, one.arm)


@BOTH
async def test_an_arm_is_a_places_whoever_spoke_first_there_and_left(settings, ledger) -> None:
    settings = with_study(settings, experiment_text(more='unit = "place"'))
    experiments = await opened(settings, ledger)
    study, found = experiments.study, []
    place = {"place": "G", "alone": False, "server": "S", "platform": "discord"}
    at = {"place": study.place("discord", "S"), "platform": "discord", "kind": "server"}
    async with ledger.writing() as connection:
        values = {"study": "pilot", "action": "on", "at": ledger.clock(), **at}
        await connection.execute(sa.insert(StudyPlaceRow).values(values))
    for name in ("first", "later"):
        await agree(ledger, study, "discord", name)
        found.append(await enrol(experiments, spot(name, **place)))
    async with ledger.writing() as connection:
        gone = study.pseudonym("discord", "first")
        facts = {"platform": "discord", "channel": "private", "at": ledger.clock()}
        assert await withdraw(connection, study, gone, facts)
    exported = (await read_study(ledger, "pilot")).tables["enrolments"]
    assert [row["unit_kind"] for row in exported] == ["place"]
    async with ledger.writing() as connection:
        await erase(connection, [gone], standing=False)
    found.append(await enrol(experiments, spot("later", **place)))
    assert len({one.id for one in found}) == 1


@BOTH
async def test_after_the_key_no_units_name_leads_to_its_row(settings, ledger) -> None:
    settings = with_study(settings, experiment_text(more='unit = "request"'))
    experiments = await opened(settings, ledger)
    await agree(ledger, experiments.study, "terminal", "1")
    made = {(await enrol(experiments, spot(), unit=f"job {n}")).id for n in range(2)}
    await destroy_key(settings, "pilot")
    for column, names in ((Enrolment.unit, {"job 0", "job 1"}), (Enrolment.id, made)):
        assert len(found := set(await ledger.scalars(sa.select(column)))) == 2
        assert found.isdisjoint(names)


@BOTH
async def test_many_at_once_fill_whole_blocks_and_never_more_than_the_maximum(
    settings, ledger
) -> None:
    experiments = await opened(with_study(settings, experiment_text(max_n=24)), ledger)
    await agree(ledger, experiments.study, "terminal", "1")
    got = await asyncio.gather(*[enrol(experiments, spot(), f"unit {n % 30}") for n in range(40)])
    arms = {found.unit: found.arm for found in got if found is not None}
    assert Counter(arms.values()) == {"base": 12, "lora": 12}
    async with ledger.reading() as connection:
        rows = (await connection.execute(sa.select(Enrolment.position, Enrolment.block))).all()
        assert await connection.scalar(sa.select(ExperimentRow.enrolled)) == 24
    assert sorted(row.position for row in rows) == list(range(24))
    assert Counter(row.block for row in rows) == dict.fromkeys(range(6), 4)


async def test_a_file_edited_after_enrolment_is_refused_and_the_old_version_runs(
    settings, ledger
) -> None:
    settings = with_study(settings, experiment_text())
    experiments = await opened(settings, ledger)
    await agree(ledger, experiments.study, "terminal", "1")
    before = await enrol(experiments, spot())
    path = folder_of(settings) / "pilot.toml"
    path.write_text(path.read_text().replace("plain = true", "plain = false"))
    after = await opened(settings, ledger)
    assert "pilot.toml was changed after the first enrolment in pilot" in after.problems[0]
    experiment = after.named("pilot")
    assert experiment is not None and experiment.arms[0].plain, "the frozen copy"
    found = await enrol(after, spot())
    assert before is not None and found is not None and found.id == before.id
    path.unlink()
    assert (await opened(settings, ledger)).named("pilot") == experiment


async def test_the_kill_switch_ends_enrolment_and_treatment(settings, ledger) -> None:
    experiments = await opened(with_study(settings, experiment_text()), ledger)
    await agree(ledger, experiments.study, "terminal", "1")
    assert await enrol(experiments, spot()) is not None
    assert await experiments.stop("pilot", "a fault")
    assert not await experiments.stop("pilot", "again")
    assert await enrol(experiments, spot()) is None
    assert await enrol(experiments, spot(), "another") is None
    with pytest.raises(SetupError, match="there is: pilot"):
        await experiments.stop("pilo", "")


async def test_only_those_who_take_part_here_are_persons(settings, ledger) -> None:
    experiments = await opened(with_study(settings, experiment_text()), ledger)
    study = experiments.study
    async with ledger.reading() as connection:
        assert await person_at(connection, study, spot()) is None
    await agree(ledger, study, "terminal", "1")
    async with ledger.reading() as connection:
        assert await person_at(connection, study, spot()) is not None
        assert await person_at(connection, study, spot(alone=False)) is None, "the place is not in"


@pytest.mark.parametrize(
    ("tables", "where", "command", "taken"),
    [
        ('platforms = ["telegram"]', spot(), "story", False),
        ('locales = ["it"]', spot(locale="it-IT"), "story", True),
        ('commands = ["news"]', spot(), "story", False),
        ("minimum_age = 21", spot(), "story", False),
        ('experts = ["lovecraft"]', spot(), "story", True),
    ],
)
async def test_who_is_eligible_the_file_says(
    settings, ledger, tables, where, command, taken
) -> None:
    text = experiment_text(tables=f"[eligible]\n{tables}")
    experiments = await opened(with_study(settings, text), ledger)
    found = experiments.fitting(
        where, Candidate(task="single", command=command, expert="lovecraft")
    )
    assert bool(found) == taken


async def test_a_completion_code_is_the_persons_own(settings, ledger) -> None:
    text = experiment_text(more="completion_code = true")
    experiments = await opened(with_study(settings, text), ledger)
    for name in ("1", "2"):
        await agree(ledger, experiments.study, "terminal", name)
    one, two = [await enrol(experiments, spot(name)) for name in ("1", "2")]
    assert len(one.code) == 8 and one.code != two.code
    assert (await enrol(experiments, spot("1"))).code == one.code


@pytest.mark.slow
def test_a_rehearsal_goes_through_the_real_path_into_a_folder_of_its_own(
    settings, tmp_path
) -> None:
    with_study(settings, experiment_text("pairs", "compare"), experiment_text("arms"))
    out = tmp_path / "rehearsal"
    words = ("study", "simulate", "--study", "pilot", "--n", "8", "--out", str(out))
    ran = pastiche(*words, PASTICHE_HOME=str(settings.home))
    said = ran.stdout.decode()
    assert ran.returncode == 0 and "8 people in" in said, (said, ran.stderr)
    with closing(sqlite3.connect(out / "ledger.sqlite3")) as connection:
        agreed = connection.execute("select count(distinct pseudonym) from consents").fetchone()[0]
        voted = "select count(*) from votes join exposures on exposures.id = exposure_id"
        assert connection.execute(voted).fetchone()[0] > 0 < agreed <= 8
    assert not (settings.home / "simulations").exists() and (tmp_path / "rehearsal.key").exists()
    again = pastiche(*words, PASTICHE_HOME=str(settings.home))
    assert again.returncode == 2 and b"is not empty" in again.stderr


def test_the_linter_names_mistakes_and_the_switch_stops(settings, tmp_path) -> None:
    with_study(settings, experiment_text())
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(experiment_text("wrong").replace("single", "singel"))
    home = {"PASTICHE_HOME": str(settings.home), "PASTICHE_STUDY": "pilot"}
    ran = pastiche("study", "lint", str(folder_of(settings) / "pilot.toml"), str(wrong), **home)
    assert ran.returncode == 2 and b"pilot.toml: read" in ran.stdout
    assert b"task: must be 'single', 'compare', 'guess' or 'flow'" in ran.stdout
    assert b"pilot is stopped" in pastiche("study", "stop", "pilot", **home).stdout
    assert b"stopped, 0 enrolled" in pastiche("study", "experiments", **home).stdout
