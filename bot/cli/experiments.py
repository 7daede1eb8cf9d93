"""`pastiche study lint`, `experiments`, `stop`, `simulate`, `items`: for those who run experiments."""

import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from bot.exit_codes import faults, logged, logged_settings
from engine import shutdown
from engine.errors import CommandError, SetupError
from engine.plan.cards import load_registry
from engine.settings import Settings
from engine.study.design.checks import CANNOT, overlaps, warnings_of
from engine.study.design.experiment_file import near, read_experiment, version_of
from engine.study.experiments.experiment import Experiment
from engine.study.experiments.passages import read_items
from engine.study.experiments.stimuli import ITEMS, read_pool, versions_of
from engine.study.lifecycle import connected_database, ready, surroundings
from engine.study.study import folder_of, open_study
from engine.study.study_services import StudyServices

if TYPE_CHECKING:
    from bot.study.simulated_person import Effects

Result = TypeVar("Result")

experiment_app = typer.Typer()
items_app = typer.Typer(help="The passages of /guess.", no_args_is_help=True)
StudyOption = Annotated[str, typer.Option("--study", help="The study; else PASTICHE_STUDY.")]


@experiment_app.command("lint")
def lint_command(
    files: Annotated[list[Path], typer.Argument(help="Experiments, as TOML.")],
) -> None:
    """Say what is wrong with an experiment's file, and what is allowed but likely not meant."""
    with logged("study") as settings:
        registry = load_registry(settings.expert_roots, settings.profile)
        wrong, read = 0, []
        for path in files:
            try:
                experiment, text = read_experiment(path)
                age, frozen = shutdown.run(surroundings(settings, path))
            except SetupError as error:
                wrong += 1
                _print(str(error))
                continue
            _print(f"{path.name}: read. {experiment.task}, arms {', '.join(experiment.weights)}.")
            read.append(experiment)
            if frozen.get(experiment.id, version_of(text)) != version_of(text):
                wrong += 1
                _print(f"  {CANNOT}it was changed after people came in, and their version goes on.")
            for problem in _stimuli(experiment, path.absolute().parent.parent / "stimuli"):
                wrong += 1
                _print(f"  {CANNOT}{problem}")
            for warning in warnings_of(experiment, registry, time.time(), age):
                wrong += warning.startswith(CANNOT)
                _print(f"  {'' if warning.startswith(CANNOT) else 'note: '}{warning}")
        for warning in overlaps(sorted(read, key=lambda each: each.id)):
            _print(f"note: {warning}")
        raise typer.Exit(2 if wrong else 0)


def _stimuli(experiment: Experiment, folder: Path) -> Iterator[str]:
    """Say which pools of an experiment are not there, or not right."""
    known = [path.name.removesuffix(ITEMS) for path in folder.glob(f"*{ITEMS}")]
    for name in sorted({step.stimuli for step in experiment.steps} - {""}):
        try:
            items = read_pool(folder / f"{name}{ITEMS}") if name in known else ()
        except SetupError as error:
            yield str(error)
            continue
        if not items:
            yield f"there are no stimuli {name} in {folder}.{near(name, known)}"
        most = max((s.count for s in experiment.steps if s.stimuli == name), default=0)
        there = len(items if experiment.annotators else versions_of(items))
        if items and there < most:
            yield f"count: {most} of {name}, which has {there} stimuli."


@experiment_app.command("experiments")
def experiments_command(study: StudyOption = "") -> None:
    """What experiments there are, frozen or not, and what is wrong with their files."""

    async def listed(services: StudyServices) -> None:
        for experiment in services.experiments.all:
            row = services.experiments.frozen.get(experiment.id)
            state = f"{row.state}, {row.enrolled} enrolled, frozen" if row else "not begun"
            _print(f"{experiment.id}: {experiment.title} ({experiment.task}; {state})")
        for problem in services.experiments.problems:
            _print(f"  bad: {problem}")

    with faults():
        on_study(study, listed)


@experiment_app.command("stop")
def stop_command(
    name: Annotated[str, typer.Argument(help="The experiment's id.")],
    reason: Annotated[str, typer.Option(help="For the record.")] = "stopped by the researcher",
    study: StudyOption = "",
) -> None:
    """The kill switch: nobody is enrolled in it or treated by it from now on, in any process."""
    with faults():
        done = on_study(study, lambda services: services.experiments.stop(name, reason))
        _print(f"{name} is stopped." if done else f"{name} was stopped already.")


@experiment_app.command("simulate")
def simulate_command(
    study: StudyOption = "",
    n: Annotated[int, typer.Option("--n", min=1, max=100_000, help="How many people.")] = 200,
    seed: Annotated[int, typer.Option(help="Of what they choose.")] = 1,
    out: Annotated[
        Path | None, typer.Option(help="A new data folder; else one in the data folder.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=0, max=50, help="Things that each does.")] = 3,
    at_once: Annotated[int, typer.Option(min=1, max=200, help="People at a time.")] = 24,
    until_done: Annotated[
        bool, typer.Option("--until-done", help="Each does all that there is, or leaves.")
    ] = False,
    win: Annotated[float, typer.Option(min=0.01, max=0.99, help="Votes for the treated.")] = 0.64,
    first: Annotated[float, typer.Option(min=0.01, max=0.99, help="Votes for the first.")] = 0.5,
    dprime: Annotated[float, typer.Option(min=-4, max=4, help="d′ of their guesses.")] = 1.0,
    drop_out: Annotated[
        float, typer.Option(min=0, max=0.99, help="How many leave at each step.")
    ] = 0.04,
) -> None:
    """Send made-up people through the real path, into a data folder of its own: a rehearsal."""
    with faults():
        from bot.study.simulated_person import Effects

        effects = Effects(win=win, first=first, dprime=dprime, drop_out=drop_out)
        there = _rehearsal(settings_of(study), out)
        began = time.monotonic()
        counts = _rehearse(there, n, at_once, seed, None if until_done else rounds, effects)
        _print(f"{n} people in {time.monotonic() - began:.0f} s: {there.home}")
        _print(", ".join(f"{name} {count}" for name, count in sorted(counts.items())))
        key = there.key_file
        _print(
            f"PASTICHE_HOME={there.home} PASTICHE_KEY_FILE={key} pastiche study export "
            f"--study {there.study} --out EXPORT"
        )


def _rehearse(
    there: Settings, n: int, at_once: int, seed: int, rounds: int | None, effects: "Effects"
) -> Counter[str]:
    """Open the whole path on the rehearsal's data folder, without limits on what somebody asks."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn

    from bot.chat import make_context
    from bot.service.service import ChatService
    from bot.settings import PlatformSettings
    from bot.study.simulated_person import SimulatedClock
    from bot.study.simulation import Simulation
    from engine.moderation.chain import usual
    from engine.process.bootstrap import open_engine
    from engine.process.services import open_services

    clock = SimulatedClock()
    platforms = PlatformSettings(asker_burst=0, place_burst=0, asker_waiting=0)
    columns = (BarColumn(bar_width=30), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("people", total=n)

        async def run() -> Counter[str]:
            async with (
                open_engine(there, synced=False) as core,
                open_services(there, clock=clock) as services,
            ):
                talk = ChatService(make_context(core, services, usual(), platforms))
                simulation = Simulation(
                    talk=talk, seed=seed, clock=clock, rounds=rounds, effects=effects
                )
                await simulation.run(n, at_once, lambda: progress.advance(task))
                return simulation.counts

        return shutdown.run(run())


def _rehearsal(settings: Settings, out: Path | None) -> Settings:
    """Make a data folder with a copy of the study's files, its key beside it. Raises CommandError."""
    source = folder_of(settings, settings.study)
    if not (source / "study.toml").exists():
        raise SetupError(f"There is no study {settings.study!r} here ({source}).")
    stamp = time.strftime("%Y%m%d-%H%M%S")
    home = (out or settings.home / "simulations" / stamp).expanduser().absolute()
    if home.exists() and any(home.iterdir()):
        raise CommandError(f"{home} is not empty; name a new folder with --out.")
    copy = home / "studies" / settings.study
    shutil.copytree(source, copy, ignore=shutil.ignore_patterns("export*"))
    key, study = home.with_name(f"{home.name}.key"), settings.study
    return Settings(home=home, backend="echo", study=study, key_file=key, max_waiting=10_000)


@experiment_app.command("annotators")
def annotators_command(
    study: StudyOption = "",
    add: Annotated[str, typer.Option(help="Invite somebody, by a name for yourself.")] = "",
    remove: Annotated[str, typer.Option(help="Show somebody no more items.")] = "",
) -> None:
    """Invite people to /rate finished items by a code, or list who came and how much they rated."""

    async def invited(services: StudyServices) -> None:
        annotators = services.annotators
        if remove and not await annotators.remove(remove):
            raise CommandError(f"Nobody is invited as {remove!r}.")
        if add:
            code = await annotators.invite(add)
            _print(f"{add} says to the bot: /rate {code} (on Telegram: ?start=rate-{code})")
        for name, came, count in await annotators.listed():
            _print(f"{name}: {f'{count} items rated' if came else 'not here yet'}")

    with faults():
        on_study(study, invited)


@items_app.command("add")
def items_add(
    file: Annotated[Path, typer.Argument(help="TOML with [[item]] tables.")],
    study: StudyOption = "",
) -> None:
    """Put passages into the pool. Whoever adds a real one answers for its licence."""
    with faults():
        try:
            items = read_items(file.read_text(encoding="utf-8-sig"), file.name)
        except (OSError, UnicodeDecodeError) as error:
            raise CommandError(f"{file} cannot be read: {error}.") from None
        count = on_study(study, lambda services: services.passages.add(items))
        _print(f"{count} new passages, {len(items) - count} were there already.")


@items_app.command("retire")
def items_retire(
    name: Annotated[str, typer.Argument(help="The item's id, or how it alone begins.")],
    study: StudyOption = "",
) -> None:
    """Show an item to nobody from now on; what was judged stays."""
    with faults():
        if not on_study(study, lambda services: services.stimuli.retire(name)):
            raise CommandError(f"There is not one item whose id begins with {name!r}.")
        _print(f"{name} is retired.")


def settings_of(study: str) -> Settings:
    """Read the settings, with the study that is meant. Raises CommandError where none is."""
    settings = logged_settings("study")
    if not (study or settings.study):
        raise CommandError("Which study? Say --study NAME, or set PASTICHE_STUDY.")
    return settings.model_copy(update={"study": study}) if study else settings


def on_study(name: str, use: Callable[[StudyServices], Coroutine[Any, Any, Result]]) -> Result:
    """Run something on the study's services, on the ledger beside a bot that may be running."""
    settings = settings_of(name)

    async def run() -> Result:
        async with connected_database(settings) as database:
            study = await open_study(settings, database)
            assert study is not None, "it is named"
            services = StudyServices(database, study, folder_of(settings, study.id))
            await services.open()
            return await use(services)

    ready(settings)
    return shutdown.run(run())


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
