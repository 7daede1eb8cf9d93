"""Units that saw too little, by their experiment's own rule: marked when they are read, never deleted.

Whoever never comes to the end is told of by no event. So this rule (`fewer_exposures`) is worked out at
each reading, and a unit that goes on later is marked no more.
"""

import tomllib
from collections import Counter
from collections.abc import Sequence

from engine.study.export.codebook import Row


def exclude_few(
    enrolments: Sequence[Row], experiments: Sequence[Row], exposures: Sequence[Row]
) -> None:
    """Mark in place the people with fewer exposures than their experiment asks for.

    An exposure counts when it was answered, or seen where nothing is asked. A reason given before stays.
    """
    least = {row["id"]: _least(row["file"]) for row in experiments}
    done = Counter(
        (row["experiment"], row["pseudonym"])
        for row in exposures
        if row["state"] == "voted" or (row["kind"] == "single" and row["state"] == "delivered")
    )
    for row in enrolments:
        needed = least.get(row["experiment"], 0)
        if row["excluded"] or row["unit_kind"] != "person":
            continue
        if done[row["experiment"], row["pseudonym"]] < needed:
            row["excluded"] = f"fewer than {needed} exposures"


def _least(file: str) -> int:
    """The rule in a frozen file, which a program of another version may have read."""
    return int(tomllib.loads(file).get("exclude", {}).get("fewer_exposures", 0))
