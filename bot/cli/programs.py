"""`pastiche prepare`, `chat`, `serve` and `worker`."""

import shlex
import sys
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Console

from bot.cli.storage import upgrade_alone
from bot.exit_codes import faults, logged, speak
from bot.settings import read_platform_settings
from engine import shutdown
from engine.errors import CommandError
from engine.ledger.storage import check_key, make_ready, on_server, revisions
from engine.monitor.logs import start_logs
from engine.plan.cards import load_registry
from engine.settings import Settings, read_settings
from engine.weights import bases
from engine.weights.weight_files import damaged

app = typer.Typer()


@app.command("prepare")
def prepare_command(
    base: Annotated[
        str, typer.Argument(help="Only this base, such as gemma-3-270m, to train on.")
    ] = "",
    agree: Annotated[
        bool, typer.Option("--agree", help="You have read its terms and agree to them.")
    ] = False,
) -> None:
    """Make the models of the profile ready, and the ledger. `chat` does this by itself."""
    with logged("pastiche") as settings:
        if base:
            prepare_one(base, settings, Console(stderr=True), agreed=agree)
            sys.stdout.write(f"Ready: {settings.models / base}\n")
            return
        prepare_bases(settings, Console(stderr=True), verify=True)
        make_ready(settings) if on_server(settings) else upgrade_alone(settings)
        sys.stdout.write(f"Ready. The data folder is {settings.home}\n")


@app.command("chat")
def chat_command() -> None:
    """Talk to the experts in this terminal. Reads a pipe too: a line with / begins a request."""
    with logged("pastiche") as settings:
        from bot.terminal_client.client import chat
        from bot.terminal_client.session import open_terminal

        prepare_bases(settings, Console(stderr=True))

        async def run() -> int:
            async with open_terminal(settings, warm=("text",)) as there:
                return await chat(there, Console())

        raise typer.Exit(shutdown.run(run()))


@app.command("serve")
def serve_command(
    discord: Annotated[
        bool, typer.Option("--discord", help="Discord, and only what is named.")
    ] = False,
    telegram: Annotated[bool, typer.Option("--telegram", help="Telegram, likewise.")] = False,
    worker: Annotated[bool, typer.Option(help="Start workers as they are needed.")] = True,
) -> None:
    """Answer on Discord and Telegram: every one whose token is set. Ctrl-C or SIGTERM ends it kindly.

    Exit code 1 when no platform could be served.
    """
    with logged("serve") as settings:
        from bot.serving.serve import makers, serve

        platforms = read_platform_settings()
        made = makers(platforms, discord=discord, telegram=telegram)
        if settings.log_to == "file":
            speak()
        if worker:
            prepare_bases(settings, Console(stderr=True))
        shutdown.finish(shutdown.run(serve(settings, platforms, made, workers=worker)))


def print_vllm(settings: Settings) -> None:
    from engine.backends.text_server.vllm_plan import make_plan

    registry = load_registry(settings.expert_roots, settings.profile)
    words = make_plan(registry, settings.models).command(plain=True)
    sys.stdout.write(f"{shlex.join(words)}\n")


def host_workers(settings: Settings, media: Sequence[str]) -> None:
    """Serve a shared database's queue until a signal, then end the process."""
    from engine.process.peer import work

    prepare_bases(settings, Console(stderr=True))
    if settings.log_to == "file":
        speak()
    sys.stderr.write(f"Serving {','.join(media)}. Ctrl-C or SIGTERM ends it kindly.\n")
    shutdown.run(work(settings, media))
    shutdown.finish(0)


@app.command("worker")
def worker_command(
    media: Annotated[
        str, typer.Option("--media", "--medium", help="text, image, or text,image (Postgres)")
    ] = "text",
    text_server: Annotated[
        str, typer.Option(help="An OpenAI-compatible server that writes the texts: docs/vllm.md")
    ] = "",
    vllm: Annotated[
        bool, typer.Option("--vllm", help="Start vLLM, and let it write the texts: docs/vllm.md")
    ] = False,
    print_command: Annotated[
        bool, typer.Option(help="Only print how vLLM is started for these cards.")
    ] = False,
) -> None:
    """One more worker: for the bot on this data folder, or for all on the same Postgres.

    On Postgres it serves until SIGTERM, ends what it runs then (PASTICHE_LEAVE_SECONDS), and leaves.
    CUDA_VISIBLE_DEVICES=1 before it chooses among several GPUs.
    """
    with faults():
        own = {"text_server": text_server} if text_server else {}
        settings = read_settings(**own, **({"text_engine": "vllm"} if vllm else {}))
        if print_command:
            return print_vllm(settings)
        shared = on_server(settings)
        wanted = _wanted(media, several=shared)
        name = f"worker-host-{'-'.join(wanted)}" if shared else f"worker-{wanted[0]}"
        start_logs(settings.home, name, settings.log_level, settings.log_to)
        if shared:
            host_workers(settings, wanted)
        from engine.workers.worker import run_worker

        try:
            run_worker(settings, wanted[0])
        except (ConnectionError, FileNotFoundError):
            raise CommandError(
                f"No bot is running on {settings.home}. Start one first: pastiche chat"
            ) from None


def _wanted(media: str, *, several: bool) -> tuple[str, ...]:
    wanted = tuple(dict.fromkeys(media.split(",")))
    if not set(wanted) <= {"text", "image"}:
        raise CommandError("There are two media: --media text, --media image.")
    if len(wanted) > 1 and not several:
        raise CommandError("On SQLite a worker has one medium.")
    return wanted


def prepare_bases(settings: Settings, console: Console, *, verify: bool = False) -> None:
    """Make the profile's embedded bases ready, with a bar if there is something to do.

    Whether a file has its size is looked at each time, whether it has its bytes only to `verify`.
    """
    if settings.backend == "echo":
        return
    registry = load_registry(settings.expert_roots, settings.profile)
    wanted = {registry.weights(e).base for e in registry.experts} & set(bases.EMBEDDED)
    todo = sorted(
        base
        for base in wanted
        if not bases.present(base, settings.models) or (verify and damaged(settings.models / base))
    )
    if not todo:
        return
    if revisions(settings)[0] is not None:
        check_key(settings)  # before anybody waits for a model that no key will let them use
    for base in todo:
        prepare(base, settings, console)


def prepare_one(base: str, settings: Settings, console: Console, *, agreed: bool) -> None:
    """Make one embedded base ready, after a person has agreed to its terms, if it has any."""
    if base not in bases.EMBEDDED:
        known = ", ".join(sorted(bases.EMBEDDED))
        raise CommandError(f"There is no embedded base {base!r}. There are: {known}.")
    if terms := bases.EMBEDDED[base].terms:
        from rich.prompt import Confirm

        console.print(terms, highlight=False)
        if not agreed and not (console.is_terminal and Confirm.ask("Do you agree?", default=False)):
            raise CommandError(f"Nothing was prepared. To agree: pastiche prepare {base} --agree")
    prepare(base, settings, console, agreed=True)


def prepare(base: str, settings: Settings, console: Console, *, agreed: bool = False) -> None:
    """Convert a base, with a bar."""
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from engine.weights import conversion

    bar = BarColumn(bar_width=20)
    columns = (SpinnerColumn(), bar, TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("preparing the model", total=len(conversion.STEPS))

        def step(what: str) -> None:
            done = conversion.STEPS.index(what)
            progress.update(task, completed=done, description=f"preparing the model: {what}")

        conversion.prepare(base, settings.models, step, agreed=agreed)
        progress.update(task, completed=len(conversion.STEPS), description=f"{base} is ready")
