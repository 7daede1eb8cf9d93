"""A study with experiments on a data folder, and people who agree to it."""

from pathlib import Path

from engine.ledger.ledger import Ledger
from engine.ledger.ledger import new_id as ulid
from engine.plan.job import Spot
from engine.settings import Settings
from engine.study.consent.consent import Answers, grant
from engine.study.consent.participants import Person, person_at
from engine.study.experiments.enrolment import Experiments
from engine.study.study import Study, open_study

STUDY = """title = "A pilot"
researcher = "A. Researcher"
contact = "a@uni.example"
purpose = "To see which of two manners is liked better."
"""
EXPERIMENT = """id = "{id}"
title = "Base against adapter"
hypothesis = "The adapter's stories are preferred."
preregistration = "https://osf.io/abcde"
task = "{task}"
start = 2020-01-01
stop = 2099-12-31
max_n = {max_n}
debrief = "One of the two was written without the adapter."
{more}

[[arms]]
name = "base"
plain = true

[[arms]]
name = "lora"
{tables}
"""


def experiment_text(
    name: str = "pilot",
    task: str = "single",
    max_n: int = 1000,
    more: str = "",
    tables: str = "",
) -> str:
    """An experiment's TOML; `more` are keys of the whole, `tables` what comes after the arms."""
    return EXPERIMENT.format(id=name, task=task, max_n=max_n, more=more, tables=tables)


def with_study(settings: Settings, *experiments: str) -> Settings:
    """The settings with a study, its file on disk, and these experiments in it."""
    folder = settings.home / "studies" / "pilot"
    (folder / "experiments").mkdir(parents=True, exist_ok=True)
    (folder / "study.toml").write_text(STUDY)
    for text in experiments:
        name = text.split('"')[1]
        (folder / "experiments" / f"{name}.toml").write_text(text)
    return settings.model_copy(update={"study": "pilot"})


def folder_of(settings: Settings) -> Path:
    """Where the experiments lie."""
    return settings.home / "studies" / "pilot" / "experiments"


async def opened(settings: Settings, ledger: Ledger) -> Experiments:
    """The study's experiments, read."""
    study = await open_study(settings, ledger)
    assert study is not None
    made = Experiments(ledger, study, folder_of(settings))
    await made.load()
    return made


async def agree(
    ledger: Ledger, study: Study, platform: str, asker: str, *, linkage: bool = False
) -> None:
    """Somebody agrees to take part, as /consent writes it."""
    answers = Answers(adult=True, use=True, excerpts=False, linkage=linkage)
    async with ledger.writing() as connection:
        name, at = study.pseudonym(platform, asker), ledger.clock()
        facts = {"form": ulid(), "platform": platform, "channel": "private", "at": at}
        done = await grant(connection, study, name, answers, study.text("en"), facts)
    assert done


def spot(asker: str = "1", platform: str = "terminal", **changes: object) -> Spot:
    """Somebody in a chat of two."""
    return Spot(
        **{"platform": platform, "asker": asker, "place": "p", "alone": True, **changes}  # type: ignore[arg-type]
    )


async def person(ledger: Ledger, study: Study, where: Spot) -> Person:
    """The participant there."""
    async with ledger.reading() as connection:
        found = await person_at(connection, study, where)
    assert found is not None
    return found
