"""One experiment of pairs, "Lovecraft or the machine?", with its votes and answers. No test."""

from typing import Any

from study_rows import Rows

from engine.ledger.transactions import Database
from engine.study.experiments import tables as e

LOVE = """title = "Lovecraft or the machine?"
hypothesis = "Readers prefer the expert."
preregistration = "https://osf.io/abcde"
task = "compare"
[[arms]]
name = "alone"
plain = true
[[arms]]
name = "lora"
[[before]]
id = "read"
text = "How much have you read?"
kind = "choice"
choices = ["Nothing", "Some", "Nearly all"]
[[after]]
id = "liked"
text = "How did you like it?"
points = 7
low = "not at all"
high = "very much"
"""
ODD = """[[before]]
id = "cold"
text = "How cold is it?"
kind = "number"
[[before]]
id = "whom"
text = "Whom do you read?"
kind = "multiple"
choices = ["Poe", "Doyle", "Austen"]
"""


async def fill_love(database: Database, votes: str, fast: str, odd: bool = False) -> None:
    """Each letter is a person's one vote for lora, against, or a tie; those `fast` are excluded."""
    async with database.writing() as connection:
        rows = Rows(connection, seed=2)
        frozen = {
            "file": LOVE + ODD * odd,
            "version_sha256": "c" * 64,
            "state": "open",
            "enrolled": 9,
        }
        await rows.add(e.ExperimentRow, id="love", frozen_at=rows.now, **frozen)
        arms: list[dict[str, Any]] = [
            {"arm": arm, "expert": "lovecraft", "plain": arm == "alone"}
            for arm in ("alone", "lora")
        ]
        for number, (vote, out) in enumerate(zip(votes, fast, strict=True)):
            name = rows.person(100 + number)
            consent = await rows.consent(name)
            texts = ("Rain.", "Rain, and rain, in..")
            for arm, text in zip(arms, texts, strict=True):
                arm["interaction"] = await rows.interaction(name, consent, output=text)
            unit = {"unit": name, "unit_kind": "person", "pseudonym": name, "arm": "alone+lora"}
            of = {"experiment": "love", "at": rows.now}
            why = "a vote within 2 seconds" if out == "x" else None
            await rows.add(
                e.Enrolment,
                id=rows.id(),
                version_sha256="c" * 64,
                position=number,
                excluded=why,
                **unit,
                **of,
            )
            exposure = await rows.exposure(name, "compare", arms, experiment="love")
            await rows.vote(name, exposure, {"+": "b", "-": "a", "t": "tie"}[vote])
            for instrument, question, value in (
                ("before", "read", ("Nothing", "Nearly all", "Some")[number % 3]),
                ("after", "liked", "6"),
                *[("before", "cold", ("-3.5", "1", "2.5")[number % 3])] * odd,
                *[("before", "whom", ("Poe; Austen", "Austen", None)[number % 3])] * odd,
            ):
                asked = {
                    "instrument": instrument,
                    "question": question,
                    "value": value,
                    "shown": {},
                }
                await rows.add(e.QuestionnaireAnswer, id=rows.id(), pseudonym=name, **asked, **of)
