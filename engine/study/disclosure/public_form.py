"""What a public export does not tell, since whoever sat in the same chat could look it up. Pure.

Words go out only of people who let them be published, and not where they take up somebody else's who
does not. A seed, a place in the order of arrival and an exact figure (a footer gives seconds and
tokens, a screen can be counted) would each be a key to a person's rows: seeds and order are left out,
figures stepped down.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Any

from engine.study.export.codebook import Row, Tables, columns
from engine.study.export.dataset import taken_up
from engine.study.export.derived_columns import STYLE
from engine.study.pseudonyms import numbered
from engine.study.tables import BORROWED

STEPS = [0.1, 0.2, 0.5, *(digit * 10**power for power in range(10) for digit in (1, 2, 5))]
FIGURES = {
    "interactions": ("length", "tokens_in", "tokens_out", *STYLE),
    "items": STYLE,
    "exposures": ("visible",),
}
KEYS = {
    "interactions": ("seed", "place"),
    "pictures": ("seed",),
    "exposures": ("seed",),
    "enrolments": ("position", "code"),
}
NUMBERS = {"consents": "id", "interactions": "consent_id", "enrolments": "block"}


def leaves(value: Any, change: Callable[[Any, str], Any], name: str = "") -> Any:
    """Change what stands in a JSON value, each by the field that it is in; names of fields stay."""
    if isinstance(value, dict):
        return {key: leaves(one, change, key) for key, one in value.items()}
    if isinstance(value, list):
        return [leaves(one, change, name) for one in value]
    return change(value, name)


def in_texts(change: Callable[[str], str]) -> Callable[[Any, str], Any]:
    return lambda one, _name: change(one) if isinstance(one, str) else one


def stepped(value: Any) -> Any:
    """Round figures down to 1, 2, 5, 10, 20, 50 ... or 0, in lists and dicts too; keep other values.

    >>> stepped(137), stepped(4.94), stepped(0.2), stepped({"characters": [812, 90], "trimmed": True})
    (100, 2.0, 0.2, {'characters': [500, 50], 'trimmed': True})
    """

    def step(one: Any, _name: str) -> Any:
        if isinstance(one, bool) or not isinstance(one, int | float):
            return one
        at = bisect_right(STEPS, one)
        return type(one)(STEPS[at - 1] if at else 0)

    return leaves(value, step)


def publish(tables: Tables, willing: Collection[str], key: bytes) -> dict[str, int]:
    """Blank, step down and rename in place; count the blanked cells by kind."""
    blanked: Counter[str] = Counter()
    borrowed = taken_up(tables["interactions"], lambda row: row["pseudonym"] in willing)
    for name, rows in tables.items():
        free = _words(name)
        exact = [column.name for column in columns(name) if column.kind == "number"]
        for row in rows:
            person = row.get("author" if name == "items" else "pseudonym")
            if person is not None and person not in willing:
                blanked["words"] += _blank(row, free)
            elif name == "interactions" and row["id"] in borrowed:
                blanked["words"] += _blank(row, (*BORROWED, "output"))
            elif name == "pictures" and row["interaction_id"] in borrowed:
                blanked["words"] += _blank(row, free)
            place = ("unit",) if row.get("unit_kind") == "place" else ()
            blanked["keys"] += _blank(row, (*KEYS.get(name, ()), *place))
            for column in (*exact, *FIGURES.get(name, ())):
                row[column] = stepped(row[column])
    _renumber(tables, key)
    return dict(sorted(blanked.items()))


def _words(name: str) -> Sequence[str]:
    if name == "pictures":
        return ("file", "media", "width", "height")
    return [column.name for column in columns(name) if column.free]


def _renumber(tables: Tables, key: bytes) -> None:
    """Replace numbers that count by arrival, the same for the same row in every export."""
    for name, column in NUMBERS.items():
        for row in tables[name]:
            of = f"block {row['experiment']}" if column == "block" else "consent"
            if row[column] is not None:
                row[column] = numbered(key, f"{of}|{row[column]}")


def _blank(row: Row, names: Sequence[str]) -> int:
    count = sum(row[name] is not None for name in names)
    row |= dict.fromkeys(names)
    return count
