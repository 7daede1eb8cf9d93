"""`pastiche db`: the ledger's schema."""

import sys

import typer

from bot.exit_codes import faults, logged_settings
from engine.errors import SetupError
from engine.ledger.storage import on_server, revisions, storage_of, upgrade
from engine.lock import take_lock
from engine.settings import Settings, read_settings

app = typer.Typer(help="The ledger's schema.", no_args_is_help=True)


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
    with faults():
        settings = logged_settings("pastiche")
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
