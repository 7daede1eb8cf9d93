"""Upgrades killed on their way from every earlier schema, on SQLite and on PostgreSQL (with fsync).

Twenty at their statements and twenty by the clock from each. What is counted is how many ledgers were
found with a schema between two versions or with a value changed; the run ends at the first.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.benchmarks.figures import Figure, clock

TESTS = Path(__file__).parents[1]
sys.path.append(str(TESTS))  # the throw-away server stands beside the tests
KILLS = 20


def run(folder: Path) -> list[Figure]:
    """Kills, and how many of them were found old and how many new."""
    import postgres

    figures = _killed("SQLite", folder, "", postgres.KEY)
    with postgres.running(synced=True) as server:
        url = server.url(server.create())
        return figures + _killed("PostgreSQL", folder, url, postgres.KEY)


def _killed(name: str, folder: Path, url: str, key: str) -> list[Figure]:
    own = {
        "PASTICHE_HOME": str(folder / name),
        "PASTICHE_KEY": key,
        "PASTICHE_DATABASE_URL": url,
    }
    command = [sys.executable, str(TESTS / "upgrade_kills.py"), str(KILLS)]
    with clock() as taken:
        done = subprocess.run(
            command, env=os.environ | own, stdout=subprocess.PIPE, text=True, check=False
        )
    kills = [json.loads(line) for line in done.stdout.splitlines()]
    new = sum(kill["found"] != kill["from"] for kill in kills)
    told = {"unit": "kills", "wall_seconds": taken.wall}
    return [
        Figure(name=f"{name}: upgrades killed", value=len(kills), **told),
        Figure(name=f"{name}: found new", value=new, **told),
        Figure(
            name=f"{name}: found in between, or changed",
            value=float(done.returncode != 0),
            against="aim 0",
            **told,
        ),
    ]
