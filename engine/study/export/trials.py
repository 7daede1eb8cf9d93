"""What an analyst begins with, worked out from the tables that are to go out, and from nothing else:
a row a judgement, a row a person, a row a question, a row a stimulus, a row an annotator's answer. Pure.
"""

import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from engine.study.experiments.questions import Question
from engine.study.export.codebook import Column, Row, Tables, columns, grouped
from engine.study.export.derived_columns import STYLE, files_of
from engine.study.export.schema import Kind

SCORED = {"compare": ("a", "b", "tie"), "guess": ("real", "generated")}
NUMBERS: Mapping[str, type[int] | type[float]] = {"likert": int, "slider": int, "number": float}
SCALES = {"likert": "ordinal", "slider": "interval", "number": "interval", "text": None}
Asked = tuple[str, str, str]  # experiment, instrument, question


def made_from(tables: Tables) -> Tables:
    questions = questions_of(tables["experiments"])
    trials = _trials(tables, questions)
    return {
        "trials": trials,
        "people": _people(tables, trials, questions),
        "questions": [_question(asked, of) for asked, of in questions.items()],
        "stimuli": [_stimulus(row, trials) for row in tables["items"]],
        "annotations": list(_annotations(tables, trials, questions)),
    }


def name_of(row: Row) -> str:
    """Name what is judged: the arm of an experiment, else the expert or the base alone."""
    return "base alone" if row.get("plain") else str(row.get("expert") or row.get("arm"))


def units_of(tables: Tables) -> dict[tuple[str, str], Row]:
    """Give each person's enrolment that counts, by (experiment, person)."""
    people = [row for row in tables["enrolments"] if row["unit_kind"] == "person"]
    return {(row["experiment"], row["unit"]): row for row in people if row["counts"]}


def _trials(tables: Tables, questions: Mapping[Asked, Question]) -> list[Row]:
    works = {row["id"]: row for name in ("items", "interactions") for row in tables[name]}
    arms = {name: file.get("arms", ()) for name, file in files_of(tables).items()}
    units = units_of(tables)
    votes = grouped((row["exposure_id"], row) for row in tables["votes"])
    said: dict[str, dict[Asked, Any]] = defaultdict(dict)
    for row in tables["answers"]:
        if row["about"] and row["counts"]:
            said[row["about"]][asked_of(row)] = row["value"]
    blank = dict.fromkeys(column.name for column in trial_columns(tables))
    found = []
    for row in tables["exposures"]:
        unit = units.get((row["experiment"], row["pseudonym"]), {})
        trial = blank | {name: row[name] for name in blank if name in row}
        trial |= {"arm": unit.get("arm"), "excluded": unit.get("excluded"), "stimulus": row["item"]}
        trial |= {name: (row["visible"] or {}).get(name) for name in ("platform", "form")}
        trial |= _shown(row, works, arms.get(row["experiment"], ()))
        trial |= _judged(row, votes.get(row["id"], []))
        trial |= _answered(said[row["id"]], questions)
        found.append(trial)
    return found


def _shown(row: Row, works: Mapping[str, Row], arms: Sequence[Row]) -> Row:
    """Tell what stood first and second; of a guess or a rating there is only the first."""
    told: Row = {"truth": row["shown"][0].get("kind") if row["kind"] == "guess" else None}
    order = [arm["name"] for arm in sorted(arms, key=lambda arm: bool(arm.get("plain")))]
    told["thumb"] = works.get(row["id"], {}).get("rating")  # of a single answer, which has its id
    for side, one in zip(("first", "second"), row["shown"], strict=False):
        work = works.get(one.get("interaction") or one.get("item"), {})
        treated = row["experiment"] and row["kind"] in ("compare", "single")
        told |= {
            side: one["arm"] if treated else name_of(one),
            f"{side}_rank": _rank(one, work, order),
            f"{side}_expert": one.get("expert"),
            f"{side}_id": one.get("interaction") or one.get("item"),
            **{f"{side}_{name}": work.get(name) for name in STYLE},
        }
    return told


def _rank(one: Row, work: Row, order: Sequence[str]) -> int:
    """Give the place in which results name it: what is treated before its base, or before a person's."""
    if one.get("arm") in order:
        return order.index(one["arm"])
    without = "adapter none" in (work.get("source") or "")
    return int(bool(one.get("plain")) or work.get("kind") == "real" or without)


def _judged(row: Row, votes: Sequence[Row]) -> Row:
    last = next((vote for vote in votes if vote["counts"]), None)
    if last is None:
        return {"changes": 0, "scored": False}
    sides = {"a": row["shown"][0], "b": row["shown"][-1]}
    said = last["choice"]
    names = ("choice", "confidence", "reason", "unblinded", "seconds")
    chosen = sides.get(said, {}) if row["kind"] == "compare" else {}
    arm = chosen.get("arm") if row["experiment"] else None
    told = said in SCORED.get(row["kind"], ()) and row["state"] != "void"
    return {
        **{name: last[name] for name in names},
        "judged_at": last["at"],
        "changes": len(votes) - 1,
        "preferred": (arm or name_of(chosen)) if chosen else None,
        "correct": said == row["shown"][0].get("kind") if row["kind"] == "guess" else None,
        "scored": told and not (row["kind"] == "compare" and last["unblinded"]),
    }


def _answered(said: Mapping[Asked, Any], questions: Mapping[Asked, Question]) -> Row:
    numbers = [int(value) for value in said.values() if value is not None and value.isdecimal()]
    each = {question: value for (_, _, question), value in said.items()}
    wide = {
        ".".join(of): _typed(questions[of], value) for of, value in said.items() if of in questions
    }
    return {"value": numbers[0] if numbers else None, "answers": each or None, **wide}


def asked_of(row: Row) -> Asked:
    return row["experiment"], row["instrument"], row["question"]


def _typed(asked: Question, said: Any) -> Any:
    number = NUMBERS.get(asked.kind)
    return number(said) if number and said else said


def _annotations(
    tables: Tables, trials: Sequence[Row], questions: Mapping[Asked, Question]
) -> Iterator[Row]:
    """Give each answer about a rated item, with the scale on which raters agree or not."""
    rated = {row["id"]: row for row in trials if row["kind"] == "rate" and row["state"] != "void"}
    for row in tables["answers"]:
        trial = rated.get(row["about"])
        if trial is None or not row["counts"]:
            continue
        key = asked_of(row)
        same = ("study", "experiment", "pseudonym", "question", "value", "seconds")
        yield {
            "id": f"{trial['id']}.{row['question']}",
            **{name: row[name] for name in same},
            "step": row["instrument"],
            "item": trial["first_id"],
            "scale": SCALES.get(questions[key].kind, "nominal") if key in questions else None,
            "excluded": trial["excluded"],
        }


def questions_of(experiments: Iterable[Row], *, about: bool | None = None) -> dict[Asked, Question]:
    """Read the questions of the frozen files, as they are: another version may have checked them.

    `about` says whether only those about an item are meant, or only the others.
    """
    found: dict[Asked, Question] = {}
    for row in experiments:
        file = tomllib.loads(row["file"])
        rating = [{"id": "rating", **file["rating"]}] if "rating" in file else []
        parts = {"before": file.get("before", ()), "rating": rating, "after": file.get("after", ())}
        items = {"rating"}
        for number, step in enumerate(file.get("step", ()), 1):
            name = step.get("id") or f"{step.get('kind', 'step')}-{number}"
            parts[name] = step.get("questions", ())
            items |= {name} if step.get("kind") == "rate" else set()
        for instrument, questions in parts.items():
            for one in questions if about in (None, instrument in items) else ():
                found[row["id"], instrument, one["id"]] = Question.model_construct(**one)
    return found


def labels_of(asked: Question) -> dict[str, str]:
    """Word the values: the ends of a scale, or each choice."""
    values = asked.values
    if asked.choices:
        return dict(zip(values, values, strict=True))
    ends = {values[0]: asked.low, values[-1]: asked.high} if values else {}
    return {value: words for value, words in ends.items() if words}


def _question(asked: Asked, of: Question) -> Row:
    names = ("experiment", "instrument", "question")
    return {
        "id": ".".join(asked),
        **dict(zip(names, asked, strict=True)),
        "kind": of.kind,
        "text": of.text,
        "text_it": of.text_it or None,
        "values": list(of.values),
        "labels": labels_of(of),
        "required": of.required,
    }


def _people(
    tables: Tables, trials: Sequence[Row], questions: Mapping[Asked, Question]
) -> list[Row]:
    blank = dict.fromkeys(column.name for column in people_columns(tables))
    last = {row["pseudonym"]: row for row in tables["consents"] if row["counts"]}
    shown = ("locale", "excerpts", "linkage", "text_version", "at")
    people = {
        name: {**blank, "id": name, "pseudonym": name, **{each: row[each] for each in shown}}
        for name, row in sorted(last.items())
    }
    asked = Counter(row["pseudonym"] for row in tables["interactions"])
    judged = Counter(row["pseudonym"] for row in trials if row["choice"] or row["answers"])
    for name, row in people.items():
        row |= {"interactions": asked[name], "judgements": judged[name]}
    for row in units_of(tables).values():
        if row["unit"] in people:
            done = row["completed_at"] is not None
            told = {"arm": row["arm"], "completed": done, "excluded": row["excluded"]}
            people[row["unit"]] |= {f"{row['experiment']}.{k}": v for k, v in told.items()}
    for row in tables["answers"]:
        key = asked_of(row)
        if row["counts"] and not row["about"] and key in questions and row["pseudonym"] in people:
            said = _typed(questions[key], row.get("words") or row["value"])
            people[row["pseudonym"]][".".join(key)] = said
    return list(people.values())


def people_columns(tables: Tables) -> tuple[Column, ...]:
    """List the columns of `people`: the same for all studies, then those of each experiment's own."""
    parts: dict[str, tuple[Kind, str]] = {
        "arm": ("word", "The arm"),
        "completed": ("flag", "Whether all was done"),
        "excluded": ("word", "Why it is not to be analysed"),
    }
    of_each = [
        Column(name=f"{row['id']}.{name}", kind=kind, about=f"{about}: {row['id']}.", derived=True)
        for row in tables["experiments"]
        for name, (kind, about) in parts.items()
    ]
    return (*columns("people"), *of_each, *_question_columns(tables, about=False))


def trial_columns(tables: Tables) -> tuple[Column, ...]:
    """List the columns of `trials`: the same for all studies, then each question about an item."""
    return (*columns("trials"), *_question_columns(tables, about=True))


def _question_columns(tables: Tables, *, about: bool) -> Iterator[Column]:
    for asked, of in questions_of(tables["experiments"], about=about).items():
        number = NUMBERS.get(of.kind)
        kind: Kind = "text" if number is None else "number" if number is float else "whole"
        yield Column(name=".".join(asked), kind=kind, about=of.text, derived=True)


def _stimulus(row: Row, trials: Sequence[Row]) -> Row:
    own = [one for one in trials if row["id"] in (one["first_id"], one["second_id"])]
    right = [one["correct"] for one in own if one["correct"] is not None and one["scored"]]
    rated = [one["value"] for one in own if one["value"] is not None]
    return {
        **row,
        "shown": len(own),
        "judged": sum(bool(one["choice"] or one["answers"]) for one in own),
        "correct": sum(right),
        "mean_value": round(sum(rated) / len(rated), 3) if rated else None,
    }
