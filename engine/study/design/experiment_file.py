"""An experiment's file, read: all its mistakes at once, each with its line and what was meant."""

import difflib
import hashlib
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from engine.errors import SetupError
from engine.study.experiments.experiment import Arm, Eligible, Exclusion, Experiment, Quota
from engine.study.experiments.questions import Question
from engine.study.experiments.steps import Step

PLAIN = {  # what pydantic says in its own words, by how its errors begin
    "model": "must be one table, as [table]",
    "dict": "must be one table, as { name = 1 }",
    "tuple": "must be a list, as [1, 2], or of tables, each as [[table]]",
    "string": "must be text in quotes",
    "bool": "must be true or false",
    "int": "must be a whole number",
    "float": "must be a number",
    "date": "must be a day, as 2027-01-31",
}


def version_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def parse_experiment(text: str, name: str) -> Experiment:
    """Parse a file's text. Raises SetupError with all of its mistakes, each by its key."""
    try:
        lines = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise SetupError(f"{name} is not TOML: {error}.") from None
    try:
        return Experiment.model_validate(lines)
    except ValidationError as error:
        mistakes = [_mistake(one, text) for one in error.errors(include_url=False)]
        raise SetupError("\n".join([f"{name} is not right:", *mistakes])) from None


def _line(where: tuple[int | str, ...], text: str) -> str:
    """Name the line of a key within its table, the n-th of its name; else the table's; else none."""
    lines, path, start, there = text.splitlines(), "", 0, False
    for table, number in zip(where, [*where[1:], 0], strict=False):
        if isinstance(table, int):
            continue
        path += (r"\." if path else "") + re.escape(str(table))
        heads = [n for n in range(start, len(lines)) if re.match(rf"\s*\[+{path}\]", lines[n])]
        place = number if isinstance(number, int) else 0
        if place < len(heads):
            start, there = heads[place], True
    key = re.escape(next((part for part in reversed(where) if isinstance(part, str)), ""))
    own = (n for n in range(start, len(lines)) if re.match(rf"\s*{key}\s*=", lines[n]))
    found = next(own, start if there else None)
    return "" if found is None else f"line {found + 1}, "


def near(name: str, known: Iterable[str]) -> str:
    """Propose what was likely meant."""
    found = difflib.get_close_matches(name, list(known), 1)
    return f" Did you mean {found[0]}?" if found else ""


def _mistake(error: Any, text: str) -> str:
    where = _line(error["loc"], text) + (".".join(str(part) for part in error["loc"]) or "file")
    given = error.get("input")
    stands = f" (there stands {given!r})" if isinstance(given, str | int | float | bool) else ""
    match error["type"]:
        case "extra_forbidden":
            known = list(_known(error["loc"]))
            meant = near(str(error["loc"][-1]), known)
            return f"  {where}: there is no such key; here are: {', '.join(known)}.{meant}"
        case "string_pattern_mismatch":
            forms = "small letters, digits, - and _", "an address that begins with https://"
            return f"  {where}: must be {forms['https' in error['ctx']['pattern']]}{stands}."
        case "missing":
            return f"  {where}: is missing."
        case _:
            said = re.sub(r"^(Input|String|Tuple) should", "must", error["msg"])
            begins, _, ends = error["type"].partition("_")
            plain = PLAIN.get(begins) if not ends.startswith("too") else None
            return f"  {where}: {plain or said.removeprefix('Value error, ')}{stands}."


def _known(where: tuple[int | str, ...]) -> Iterable[str]:
    inside: dict[str, type[BaseModel]] = {
        "arms": Arm, "eligible": Eligible, "exclude": Exclusion, "rating": Question, "quota": Quota,
        "before": Question, "after": Question, "step": Step, "questions": Question,
    }  # fmt: skip
    tables = [name for name in where[:-1] if name in inside]
    return (inside[str(tables[-1])] if tables else Experiment).model_fields


def read_experiment(path: Path) -> tuple[Experiment, str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SetupError(f"{path} cannot be read: {error}.") from None
    experiment = parse_experiment(text, path.name)
    if experiment.id != path.stem:
        raise SetupError(
            f"{path.name}: the id is {experiment.id!r}, but the file's name says {path.stem!r}. "
            "Make them the same."
        )
    return experiment, text
