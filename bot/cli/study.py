"""`pastiche study`: its opening, design, conduct, key and retention."""

import asyncio
import csv
import hashlib
import io
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import NormalDist
from typing import Annotated, Any

import typer

from bot.cli.experiments import StudyOption, experiment_app, items_app, on_study
from bot.cli.export import export_app
from bot.exit_codes import faults, logged
from engine import shutdown
from engine.errors import CommandError, SetupError
from engine.files import write_file
from engine.lock import take_lock
from engine.process.services import open_services
from engine.settings import Settings
from engine.study import lifecycle
from engine.study.design.checks import not_italian
from engine.study.study import folder_of, study_key_file
from engine.study.study_services import StudyServices

study_app = typer.Typer(
    help="A study: consent, its key, retention, experiments, export.", no_args_is_help=True
)
for part in (export_app, experiment_app):
    study_app.registered_commands += part.registered_commands
study_app.add_typer(items_app, name="items")
WATCH_SECONDS = 5.0
Name = Annotated[str, typer.Argument(help="The study's name: small letters, digits, - and _.")]


@study_app.command("open")
def open_command(
    name: Name,
    title: Annotated[str, typer.Option(help="As people read it.")] = "",
    researcher: Annotated[str, typer.Option(help="Who does it, and where.")] = "",
    contact: Annotated[str, typer.Option(help="Where questions go.")] = "",
    purpose: Annotated[str, typer.Option(help="What it asks, in a sentence.")] = "",
) -> None:
    """Make a study's folder and key, or look whether they are in order."""
    with logged("study") as settings:
        facts = {"title": title, "researcher": researcher, "contact": contact, "purpose": purpose}
        lifecycle.write_template(settings, name, **facts)
        lifecycle.ready(settings)
        study = shutdown.run(lifecycle.open_named(settings, name))
        if study.key is None:
            raise SetupError(study.why)
        key = study_key_file(settings.model_copy(update={"study": name}), name)
        texts = "".join(
            f"Consent text, {text.locale}: version {text.version}, SHA-256 {text.sha256[:16]}…\n"
            for text in study.texts.values()
        )
        unset = [of for of, value in study.file if value == "" and not of.endswith("_it")]
        if unset:
            texts += f"Not set in study.toml, so people are not told: {', '.join(unset)}.\n"
        if missing := ", ".join(not_italian(study.file.model_dump())):
            texts += f"In Italian are missing, and are said in English: {missing}.\n"
        sys.stdout.write(
            f"The study {name} is open: {folder_of(settings, name) / 'study.toml'}\n"
            f"Its key: {key} (keep a copy apart from the data; without it nobody can be found)\n"
            f"{texts}To run it, set PASTICHE_STUDY={name} and start the bot again.\n"
        )


@study_app.command("destroy-key")
def destroy_key_command(
    name: Name, yes: Annotated[bool, typer.Option("--yes", help="It cannot be undone.")] = False
) -> None:
    """End a study for good: its rows stay, and nobody can be found in them any more."""
    with logged("study") as settings:
        if not yes:
            raise CommandError(
                "This cannot be undone: /forget, /withdraw and /mydata will find nobody's study rows "
                "any more, and no account can be linked. If that is what you want, add --yes."
            )
        _be_alone(settings)
        shutdown.run(lifecycle.destroy_key(settings, name))
        sys.stdout.write(f"The key of {name} is destroyed. Delete your copies of it, too.\n")


def _be_alone(settings: Settings) -> None:
    lock = take_lock(settings.home, settings.socket)
    if lock is None:
        raise SetupError("A bot is running on this data folder. Stop it first.")
    lock.close()


@study_app.command("erase")
def erase_command(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask; it cannot be undone.")] = False,
) -> None:
    """Delete all of a study that is over: rows, pictures, key, files, also in older copies."""
    with logged("study") as settings:
        folder, key = folder_of(settings, name), study_key_file(settings, name)
        _be_alone(settings)

        async def run() -> None:
            alone = settings.model_copy(update={"study": ""})  # it collects nothing meanwhile
            async with open_services(alone) as services:
                found = await lifecycle.rows_of_study(services.ledger, name)
                found += [str(place) for place in (folder, key) if place.exists()]
                sys.stdout.write(f"The study {name}: {', '.join(found)}\n")
                if not yes:
                    typer.confirm(f"Erase all of {name}? It cannot be undone.", abort=True)
                await lifecycle.erase_study(settings, name, services.forgetting)

        shutdown.run(run())
        sys.stdout.write(
            f"{name} is erased. Delete your copies of its key, and its exports where you put them.\n"
        )


@study_app.command("retention")
def retention_command(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what would go.")] = False,
) -> None:
    """One round of retention now: `pastiche serve` has one every hour by itself."""
    with logged("study") as settings:
        lifecycle.ready(settings)

        async def run() -> str:
            async with open_services(settings) as services:
                done = await services.retention.clean(dry_run=dry_run)
            word = "would go" if dry_run else "gone"
            return "".join(f"{name}: {count} {word}\n" for name, count in done.items())

        sys.stdout.write(shutdown.run(run()))


@study_app.command("watch")
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

        on_study(study, watch)


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


@study_app.command("panel")
def panel_command(
    study: StudyOption = "",
    out: Annotated[Path, typer.Option(help="The list, CSV.")] = Path("panel.csv"),
) -> None:
    """List the ids that people came with from a panel, with code and state, to pay by."""
    with faults():
        path = out.expanduser().absolute()
        if path.exists():
            raise CommandError(f"{path} is there already; it is not overwritten.")
        rows = on_study(study, lambda services: services.panel.listed())
        text = io.StringIO()
        csv.writer(text).writerows([("panel", "code", "state"), *rows])
        write_file(path, text.getvalue(), private=True)
        sys.stdout.write(
            f"{path}: {len(rows)} people. It names them: delete it when they are paid.\n"
        )


@study_app.command("close")
def close_command(study: StudyOption = "") -> None:
    """End a study: nobody is invited, nothing more is collected; rights and export go on."""
    with faults():

        async def closed(services: StudyServices) -> str:
            for experiment in services.experiments.all:
                await services.experiments.stop(experiment.id, "the study is closed")
            await lifecycle.close_study(services.experiments.database, services.study.id)
            count = len(await services.experiments.progress())
            return f"{services.study.id} is closed; units that were enrolled: {count}.\n"

        sys.stdout.write(on_study(study, closed))


@study_app.command("plan")
def plan_command(
    effect: Annotated[float, typer.Option(min=0.01, max=0.99, help="Share for the treated.")] = 0.6,
    pairs: Annotated[int, typer.Option(min=1, max=1000, help="That each judges.")] = 3,
    dprime: Annotated[
        float | None, typer.Option(min=-4, max=4, help="Of guesses, in the place of --effect.")
    ] = None,
    icc: Annotated[float, typer.Option(min=0, max=0.99, help="Likeness within a person.")] = 0.1,
    ties: Annotated[float, typer.Option(min=0, max=0.9, help="Share that is undecided.")] = 0.0,
    drop_out: Annotated[float, typer.Option(min=0, max=0.9, help="Share that leaves.")] = 0.0,
    power: Annotated[float, typer.Option(min=0.1, max=0.99)] = 0.8,
    level: Annotated[float, typer.Option(min=0.001, max=0.2, help="Of the test.")] = 0.05,
) -> None:
    """How many people a study needs, by simulating the test that is planned."""
    with faults():
        from engine.study.design.power import STUDIES, Design, needed
        from engine.study.design.power import power as power_of

        share = effect if dprime is None else NormalDist().cdf(dprime / 2)
        if abs(share - 0.5) < 0.001:
            raise CommandError("An effect of nothing is never found; name another.")
        design = Design(effect=share, judgements=pairs, icc=icc, ties=ties, level=level)
        people = needed(design, power)
        enrolled = round(people / (1 - drop_out) + 0.499)
        what = f"a share of {share:.0%}" if dprime is None else f"d′ = {dprime:g}"
        for number in sorted({max(4, people // 2), people, 2 * people}):
            sys.stdout.write(f"{number:>7,} people: power {power_of(number, design):.0%}\n")
        sys.stdout.write(
            f"{people:,} people find {what} with power {power:.0%}, {pairs} judgements of each, "
            f"icc {icc:g}, ties {ties:.0%}, at the level {level:g}; enrol {enrolled:,}. "
            f"({STUDIES:,} simulated studies for each number, errors by person.)\n"
        )


@study_app.command("preregister")
def preregister_command(
    name: Annotated[str, typer.Argument(help="The experiment's id.")],
    study: StudyOption = "",
    out: Annotated[Path | None, typer.Option(help="The document, Markdown.")] = None,
    power: Annotated[str, typer.Option(help="What was reckoned: the line of `plan`.")] = "",
) -> None:
    """Write design and analysis as one dated document, with its hash, to be deposited."""
    with faults():
        from engine.study.design.preregistration import document

        path = (out or Path(f"preregistration-{name}.md")).expanduser().absolute()
        if path.exists():
            raise CommandError(f"{path} is there already; it is not overwritten.")

        async def written(services: StudyServices) -> str:
            text = services.experiments.text_of(name)
            experiment = services.experiments.named(name)
            assert experiment is not None, "it has a text"
            used = {step.stimuli for step in experiment.steps if step.stimuli}
            digests = {f"stimuli {pool}": services.experiments.pools[pool] for pool in sorted(used)}
            for locale, consent in services.study.texts.items():
                digests[f"consent, {locale}"] = consent.sha256
            return document(experiment, text, digests, power, time.time())

        whole = on_study(study, written)
        write_file(path, whole)
        digest = hashlib.sha256(whole.encode()).hexdigest()
        sys.stdout.write(f"{path}\nSHA-256 {digest}\n")
