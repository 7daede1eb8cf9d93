"""`pastiche study watch`, `panel`, `close`: while a study runs, and when it is over."""

import asyncio
import csv
import io
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from bot.cli.experiments import StudyOption, on_study, settings_of
from bot.exit_codes import faults
from engine.errors import CommandError
from engine.files import write_file
from engine.study.lifecycle import close_study
from engine.study.study_services import StudyServices

conduct_app = typer.Typer()
WATCH_SECONDS = 5.0


@conduct_app.command("watch")
def watch_command(
    study: StudyOption = "",
    once: Annotated[bool, typer.Option("--once", help="Print it once.")] = False,
) -> None:
    """How the experiments go, by arm and stratum: begun, done, excluded, judgements; every 5 seconds."""
    with faults():
        from rich.live import Live

        async def watch(services: StudyServices) -> None:
            with Live(auto_refresh=False) as live:
                while True:
                    live.update(_table(await services.experiments.progress()), refresh=True)
                    if once:
                        return
                    await asyncio.sleep(WATCH_SECONDS)

        on_study(settings_of(study), watch)


def _table(rows: Sequence[Any]) -> Any:
    """Count units by experiment, stratum and arm, and what they judged by step."""
    from rich.table import Table

    table = Table("experiment", "stratum", "arm", "begun", "done", "excluded", "judged")
    found: dict[tuple[str, str, str], Counter[str]] = {}
    for row in rows:
        count = found.setdefault((row.experiment, row.stratum or "", row.arm), Counter())
        count.update(begun=1, done=row.completed_at is not None, judged=row.judged or 0)
        count.update(excluded=row.excluded is not None)
    for names, count in sorted(found.items()):
        table.add_row(*names, *(str(count[k]) for k in ("begun", "done", "excluded", "judged")))
    return table


@conduct_app.command("panel")
def panel_command(
    study: StudyOption = "",
    out: Annotated[Path, typer.Option(help="The list, CSV.")] = Path("panel.csv"),
) -> None:
    """List the ids that people came with from a panel, with code and state, to pay by."""
    with faults():
        path = out.expanduser().absolute()
        if path.exists():
            raise CommandError(f"{path} is there already; it is not overwritten.")
        rows = on_study(settings_of(study), lambda services: services.panel.listed())
        text = io.StringIO()
        csv.writer(text).writerows([("panel", "code", "state"), *rows])
        write_file(path, text.getvalue(), private=True)
        sys.stdout.write(
            f"{path}: {len(rows)} people. It names them: delete it when they are paid.\n"
        )


@conduct_app.command("close")
def close_command(study: StudyOption = "") -> None:
    """End a study: nobody is invited, nothing more is collected; rights and export go on."""
    with faults():
        settings = settings_of(study)

        async def closed(services: StudyServices) -> int:
            for experiment in services.experiments.all:
                await services.experiments.stop(experiment.id, "the study is closed")
            await close_study(services.experiments.database, settings.study)
            return len(await services.experiments.progress())

        count = on_study(settings, closed)
        sys.stdout.write(
            f"{settings.study} is closed; units that were enrolled: {count}. Start the bot again.\n"
        )
