"""`pastiche media`: looking after the store of pictures."""

import asyncio
import sys

import typer

from bot.exit_codes import faults, logged_settings
from engine import shutdown
from engine.errors import SetupError
from engine.ledger.picture_cleanup import SAFE_SECONDS
from engine.ledger.storage import revisions
from engine.process.services import open_ledger

media_app = typer.Typer(help="The store of pictures.", no_args_is_help=True)


@media_app.command("sweep")
def sweep_command() -> None:
    """Delete pictures, an hour old at least, that no answer has: what a kill or a restore left over.

    A folder is swept at each start; an object store only by this, once a week or after a restore.
    """
    with faults():
        settings = logged_settings("pastiche")
        if len(set(revisions(settings))) > 1:
            raise SetupError("Bring the ledger to this program's schema first: pastiche db upgrade")

        async def sweep() -> int:
            async with open_ledger(settings) as ledger:
                return await ledger.sweep(SAFE_SECONDS)

        sys.stdout.write(f"{shutdown.run(sweep())} pictures deleted.\n")


@media_app.command("check")
def check_command() -> None:
    """Whether pictures can be kept there now."""
    with faults():
        settings = logged_settings("pastiche")

        async def check() -> None:
            async with open_ledger(settings) as ledger:
                await asyncio.to_thread(ledger.media.check)

        shutdown.run(check())
        sys.stdout.write("Pictures can be kept.\n")
