"""`pastiche db` and `media`: the ledger's schema, and the store of pictures."""

import sys

import typer

from bot.exit_codes import faults, logged
from engine import shutdown
from engine.errors import SetupError
from engine.ledger.picture_cleanup import SAFE_SECONDS
from engine.ledger.storage import on_server, revisions, storage_of, upgrade
from engine.lock import take_lock
from engine.process.services import open_ledger
from engine.settings import Settings, read_settings

media_app = typer.Typer(no_args_is_help=True)
app = typer.Typer(help="The ledger's schema.", no_args_is_help=True)


@media_app.callback()
def _media() -> None:  # else typer takes a lone command for the whole
    """The store of pictures."""


@media_app.command("sweep")
def sweep_command() -> None:
    """Delete pictures, an hour old at least, that no answer has: what a kill or a restore left over.

    On SQLite this is done at each start; on PostgreSQL only by this, once a week or after a restore.
    """
    with logged("pastiche") as settings:
        if len(set(revisions(settings))) > 1:
            raise SetupError("Bring the ledger to this program's schema first: pastiche db upgrade")

        async def sweep() -> int:
            async with open_ledger(settings) as ledger:
                return await ledger.sweep(SAFE_SECONDS)

        sys.stdout.write(f"{shutdown.run(sweep())} pictures deleted.\n")


def upgrade_alone(settings: Settings) -> str | None:
    """Upgrade under the owner's lock: nobody else may have the ledger's file open meanwhile."""
    if on_server(settings):
        return upgrade(settings)
    lock = take_lock(settings.home, settings.socket)
    if lock is None:
        if len(set(revisions(settings))) == 1:
            return None
        raise SetupError("A bot is running on this data folder. Stop it, then upgrade.")
    with lock:
        return upgrade(settings)


@app.command("upgrade")
def db_upgrade() -> None:
    """Bring the ledger to this program's schema, after a backup copy."""
    with logged("pastiche") as settings:
        backup = upgrade_alone(settings)
        if backup:
            sys.stdout.write(f"The ledger as it was: {backup}\n")
        sys.stdout.write(f"Schema {revisions(settings)[0]}\n")


@app.command("current")
def db_current() -> None:
    """Which schema the ledger has, and which is the newest."""
    with faults():
        settings = read_settings()
        current, newest = revisions(settings)
        where = storage_of(settings).name
        sys.stdout.write(f"{where}: schema {current or 'none yet'}, newest {newest}\n")


@app.command("schema")
def db_schema() -> None:
    """Every table and column, what is sealed, and how to open it: as Markdown."""
    from engine.study.export.schema import schema_page

    with faults():
        sys.stdout.write(schema_page())
