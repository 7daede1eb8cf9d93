"""Columns that are worked out from others: durations, the last of several, the gravest verdict,
and which people saw fewer exposures than their experiment's own rule asks for.

Whoever never comes to the end is told of by no event. So that rule (`fewer_exposures`) is worked out at
each reading, and a unit that goes on later is marked no more. Nobody is deleted by it.
"""

import time
import tomllib
import unicodedata
from collections import Counter
from collections.abc import Mapping
from itertools import groupby
from operator import itemgetter
from typing import Any

from engine.study.export.codebook import Row, Tables

STYLE = ("characters", "paragraphs", "punctuation")
GRAVITY = ("allow", "flag", "hold", "block")


def derive(tables: Tables, consents: Mapping[int, Row], kinds: Mapping[str, str]) -> None:
    """Add the derived columns to the rows in place; `kinds` tells what kind of place each is."""
    _exclude_few(tables)
    _mark_last(tables["consents"], ("pseudonym",))
    _mark_last(tables["enrolments"], ("experiment", "unit"), first=True)
    _mark_last(tables["ratings"], ("interaction_id", "pseudonym"))
    votes = sorted(tables["votes"], key=lambda row: (row["exposure_id"], row["at"], row["id"]))
    same = itemgetter("exposure_id", "choice", "confidence")
    runs = [list(run) for _, run in groupby(votes, same)]
    # a reason that is given later is no other judgement, and no later one; none takes one back
    given = [[row["reason"] for row in run if row["reason"]] or [None] for run in runs]
    tables["votes"] = [{**run[0], "reason": r[-1]} for run, r in zip(runs, given, strict=True)]
    _mark_last(tables["votes"], ("exposure_id",))
    _mark_last(tables["answers"], ("experiment", "pseudonym", "instrument", "question", "about"))
    last = (row for row in tables["ratings"] if row["counts"])
    thumbs = {(row["interaction_id"], row["pseudonym"]): row["value"] for row in last}
    for row in tables["items"]:
        row |= style_of(row["text"])
    for row in tables["pictures"]:
        row["file"] = f"pictures/{row['media']}.png"
    for row in tables["interactions"]:
        row |= {
            "locale": consents[row["consent_id"]]["locale"],
            "place_kind": "private" if row["private"] else kinds.get(row["place"]),
            "hour": f"{time.gmtime(row['accepted_at']).tm_hour:02}",
            **seconds_of(row),
            **style_of(row["output"]),
            "moderation_action": gravest([verdict.get("action") for verdict in row["moderation"]]),
            "rating": thumbs.get((row["id"], row["pseudonym"])),
        }


def files_of(tables: Tables) -> dict[str, dict[str, Any]]:
    """Read the frozen files as they are: another version of the program may have checked them."""
    return {row["id"]: tomllib.loads(row["file"]) for row in tables["experiments"]}


def style_of(text: str | None) -> Row:
    """Measure what a judge sees before reading.

    >>> style_of("Rain, and rain.\\n\\nMore.")
    {'characters': 22, 'paragraphs': 2, 'punctuation': 3}
    """
    if text is None:
        return dict.fromkeys(STYLE)
    paragraphs = sum(bool(line.strip()) for line in text.splitlines())
    marks = sum(unicodedata.category(sign).startswith("P") for sign in text)
    return dict(zip(STYLE, (len(text), paragraphs, marks), strict=True))


def seconds_of(row: Row) -> Row:
    return {
        "wait_seconds": _between(row, "accepted_at", "started_at"),
        "first_token_seconds": _between(row, "started_at", "first_token_at"),
        "write_seconds": _between(row, "started_at", "finished_at"),
        "answer_seconds": _between(row, "accepted_at", "finished_at"),
    }


def gravest(actions: list[str | None]) -> str | None:
    """Find the worst of several verdicts; None where there was none."""
    known = [action for action in actions if action in GRAVITY]
    return max(known, key=GRAVITY.index, default=None)


def _between(row: Row, start: str, end: str) -> float | None:
    """Count seconds to the millisecond; None while either is not there, 0 for a clock set back."""
    if row[start] is None or row[end] is None:
        return None
    return max(0.0, round(float(row[end] - row[start]), 3))


def _mark_last(rows: list[Row], key: tuple[str, ...], *, first: bool = False) -> None:
    """Set `counts` for the last row of each key, or for its `first`: coarsened times tell no order."""
    in_order = sorted(rows, key=lambda row: (row["at"], row["id"]), reverse=first)
    last = {tuple(row[name] for name in key): row["id"] for row in in_order}
    for row in rows:
        row["counts"] = last[tuple(row[name] for name in key)] == row["id"]


def _exclude_few(tables: Tables) -> None:
    """Mark people with too few exposures, answered or seen; a reason given before stays."""
    files = files_of(tables)
    done = Counter(
        (row["experiment"], row["pseudonym"])
        for row in tables["exposures"]
        if row["state"] == "voted" or (row["kind"] == "single" and row["state"] == "delivered")
    )
    for row in tables["enrolments"]:
        rules = files.get(row["experiment"], {}).get("exclude", {})
        needed = int(rules.get("fewer_exposures", 0))
        few = done[row["experiment"], row["pseudonym"]] < needed
        if few and row["unit_kind"] == "person" and not row["excluded"]:
            row["excluded"] = f"fewer than {needed} exposures"
