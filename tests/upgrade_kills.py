"""Upgrades that are killed on their way, from every earlier schema, with rows in every table.

`python tests/upgrade_kills.py KILLS [SCHEMA...]` takes the ledger from the settings in its environment
(a new one for each schema, or each of those named, and kind of death) and prints a line of JSON for
each kill, or fails at the first ledger that is neither the old one nor the new one, or has lost a
value. A process of its own, because it forks.
"""

import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic.script import ScriptDirectory

import migrations
from engine.ledger.keys import load_vault
from engine.ledger.storage import revisions, storage_of, upgrade
from engine.settings import Settings, read_settings

ROWS = 3
MANY = 20
OWN = ("alembic_version", "meta")  # rows that an upgrade may write
LET_GO = {
    "verdicts": ["reasons"],
    "outputs": ["notes"],
    "interactions": ["notes"],
    "tickets": ["number"],
}  # an upgrade empties these on purpose

Shape = dict[str, list[str]]  # columns of each table
Values = dict[str, list[tuple[Any, ...]]]


def versions() -> list[str]:
    """All, oldest first."""
    script = ScriptDirectory(str(Path(migrations.__file__).parent))
    return [revision.revision for revision in script.walk_revisions()][::-1]


@contextmanager
def program_of(version: str) -> Iterator[Path]:
    """The migrations of the program that knew no later version."""
    later = versions()[versions().index(version) + 1 :]
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "migrations")
        shutil.copytree(Path(migrations.__file__).parent, copy)
        for number in later:
            next((copy / "versions").glob(f"v{number}_*.py")).unlink()
        yield copy


def fill(settings: Settings) -> None:
    """Rows in every table, each value of its column's kind."""
    vault = load_vault(settings, may_create=False)

    def value(column: sa.Column[Any], row: int) -> Any:
        for key in column.foreign_keys:
            return value(key.column, row)
        match column.type:
            case sa.LargeBinary():
                return vault.seal(f"row {row}", f"{column.table.name}.{column.name}")
            case sa.JSON():
                return [row]
            case sa.Boolean():
                return bool(row % 2)
            case sa.Integer():
                return row
            case sa.Float():
                return row + 0.1
            case sa.String(length=length):
                return f"{row}-{column.name}"[:length]
        raise TypeError(f"a value of {column.type}")

    with storage_of(settings).connect(writing=True) as connection:
        for table in _tables(connection).sorted_tables:
            for row in range(1, ROWS + 1):
                row_values = {column.name: value(column, row) for column in table.columns}
                connection.execute(sa.insert(table).values(row_values))
        connection.commit()


def _tables(connection: sa.Connection) -> sa.MetaData:
    found = sa.MetaData()
    found.reflect(connection, only=lambda name, _: not name.startswith(OWN))
    return found


def shape(settings: Settings) -> Shape:
    """The tables and their columns."""
    with storage_of(settings).connect(writing=False) as connection:
        look = sa.inspect(connection)
        return {t: [c["name"] for c in look.get_columns(t)] for t in sorted(look.get_table_names())}


def values(settings: Settings, columns: Shape) -> Values:
    """What stands in these columns."""
    with storage_of(settings).connect(writing=False) as connection:
        return {
            name: sorted(
                tuple(row)
                for row in connection.execute(
                    sa.select(*(sa.column(c) for c in kept)).select_from(sa.table(name))
                )
            )
            for name, kept in columns.items()
            if not name.startswith(OWN)
        }


def moments(settings: Settings) -> int:
    """How often an upgrade from here could be killed: before each statement and the commit, after it.

    It is tried out by one that dies at the commit.
    """
    reader, writer = os.pipe()
    if os.fork() == 0:
        count = _counting(None)

        def last(_connection: sa.Connection) -> None:
            os.write(writer, str(count[0] + 1).encode())
            os.kill(os.getpid(), signal.SIGKILL)

        sa.event.listen(sa.Engine, "commit", last)
        upgrade(settings)
    os.wait()
    number = int(os.read(reader, 20))
    os.close(reader)
    os.close(writer)
    return number


def _counting(fatal: int | None) -> list[int]:
    """Count the moments of this process, and die at the one of that number."""
    count = [0]

    def moment(*_: Any) -> None:
        count[0] += 1
        if count[0] == fatal:
            os.kill(os.getpid(), signal.SIGKILL)

    sa.event.listen(sa.Engine, "before_cursor_execute", moment)
    sa.event.listen(sa.Engine, "commit", moment)
    return count


def killed_at(settings: Settings, moment: int) -> None:
    """An upgrade that dies at that moment, or right after its end."""
    if os.fork() == 0:
        _counting(moment)
        upgrade(settings)
        os.kill(os.getpid(), signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.wait()[1]) == -signal.SIGKILL


def killed_after(settings: Settings, seconds: float) -> None:
    """An upgrade that dies when that time is over, wherever it is."""
    child = os.fork()
    if child == 0:
        upgrade(settings)
        time.sleep(60)
        os._exit(1)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.wait()[1]) == -signal.SIGKILL


class Watched:
    """A ledger of an old schema with rows in it; `new` is how an upgraded one looks."""

    def __init__(self, settings: Settings, version: str, new: Shape) -> None:
        self.settings, self.version, self.new = settings, version, new
        with program_of(version) as scripts:
            upgrade(settings, scripts)
        fill(settings)
        self.old = shape(settings)
        self.stays = {
            name: [column for column in columns if column not in LET_GO.get(name, ())]
            for name, columns in self.old.items()
        }
        self.kept = values(settings, self.stays)

    def look(self) -> str:
        """Which schema it has. Raises AssertionError for one in between, or a lost value."""
        current, newest = revisions(self.settings)
        assert current in (self.version, newest), current
        found = shape(self.settings)
        assert found == (self.old if current == self.version else self.new), "between two schemas"
        assert values(self.settings, self.stays) == self.kept, "a value has changed"
        return str(current)


def fresh(settings: Settings, name: str) -> Settings:
    """The same on a ledger of its own."""
    changes: dict[str, Any] = {"home": settings.home / name}
    if settings.database_url:
        url = sa.make_url(settings.database_url)
        admin = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
        with admin.connect() as connection:
            connection.execute(
                sa.text(f'CREATE DATABASE "{url.database}_{name}" TEMPLATE template0')
            )
        made = url.set(database=f"{url.database}_{name}")
        changes["database_url"] = made.render_as_string(hide_password=False)
    return settings.model_copy(update=changes)


def main(kills: int, old: list[str]) -> None:
    """That many kills from each of these schemas, at its statements; if many, as many by the clock."""
    settings = read_settings()
    begin = time.monotonic()
    upgrade(settings)
    seconds = time.monotonic() - begin
    new = shape(settings)
    for version in old:
        watched = Watched(fresh(settings, f"from{version}"), version, new)
        most = moments(watched.settings)
        for kill in range(1, kills + 1):
            moment = round(most * kill / kills)
            killed_at(watched.settings, moment)
            _tell(version, f"moment {moment} of {most}", watched)
        assert watched.look() == versions()[-1]  # the last death was after the end
        for kill in range(kills if kills >= MANY else 0):
            if watched.look() != version:
                watched = Watched(fresh(settings, f"from{version}again{kill}"), version, new)
            after = random.uniform(0, seconds)
            killed_after(watched.settings, after)
            _tell(version, f"after {after:.3f} s of {seconds:.3f}", watched)
        upgrade(watched.settings)
        assert watched.look() == versions()[-1]


def _tell(version: str, where: str, watched: Watched) -> None:
    line = {"from": version, "killed": where, "found": watched.look()}
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:] or versions()[:-1])
