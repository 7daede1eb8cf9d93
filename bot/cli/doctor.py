"""`pastiche doctor`: what is wrong on this machine, and what to do about it. Each check is one line."""

import asyncio
import importlib.metadata
import platform
import re
import shutil
import stat
import tempfile
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bot.cli.findings import Finding, look_at_models
from bot.exit_codes import OURS, logged
from bot.settings import PlatformSettings, read_platform_settings
from bot.terminal_client.live_answer import say
from engine import shutdown
from engine.backends.text_server.vllm_plan import vllm_program
from engine.chat.retention import ALARM_SECONDS
from engine.errors import PasticheError, SetupError
from engine.events import Event, Failed, Finished
from engine.ledger.keys import key_file
from engine.ledger.storage import check_key, revisions, storage_of
from engine.moderation.chain import load_classifier
from engine.plan.cards import Expert, Medium, Registry, load_registry
from engine.plan.job import Request
from engine.process.bootstrap import open_engine
from engine.process.services import open_services
from engine.settings import Settings
from engine.weights import bases

PACKAGES = ("torch", "transformers", "peft", "diffusers", "accelerate", "safetensors", "gguf",
            "sqlalchemy", "discord.py", "python-telegram-bot", "openai")  # fmt: skip
MIN_FREE = 2 << 30  # bytes
ROUND_TRIP_SECONDS = 180.0  # a first load of a big base from a slow disk is in it


app = typer.Typer()


@app.command("doctor")
def doctor_command(
    generate: Annotated[bool, typer.Option(help="Ask a worker for a few words.")] = True,
) -> None:
    """Look for what is wrong, and say what to do. Exit code 1 if anything is."""
    with logged("pastiche") as settings:
        console = Console()
        style = {"ok": "green", "note": "yellow", "bad": "red"}

        async def run() -> bool:
            sound = True
            async with aclosing(examine(settings, generate=generate)) as findings:
                async for finding in findings:
                    console.print(f"[{style[finding.mark]}]{finding.mark:4}[/] ", end="")
                    say(console, finding.what)
                    if finding.advice:
                        console.print(
                            f"     {finding.advice}", markup=False, highlight=False, soft_wrap=True
                        )
                    sound &= finding.mark != "bad"
            return sound

        raise typer.Exit(0 if shutdown.run(run()) else OURS)


async def examine(settings: Settings, *, generate: bool = True) -> AsyncGenerator[Finding]:
    """Run every check in the order in which a newcomer meets its trouble."""
    yield Finding("ok", f"Python {platform.python_version()}")
    for finding in _packages():
        yield finding
    yield _folder("data folder", settings.home, "PASTICHE_HOME")
    if settings.media_folder:
        yield _folder("folder of pictures", settings.media, "PASTICHE_MEDIA_FOLDER")
    try:
        for finding in list(_ledger(settings)):
            yield finding
        registry = load_registry(settings.expert_roots, settings.profile)
    except PasticheError as error:
        yield Finding("bad", "ledger and cards", str(error))
        return
    for problem in registry.problems:
        yield Finding("note", "a card is set aside", problem)
    for finding in await asyncio.to_thread(look_at_models, registry, settings.models):
        yield finding
    for medium in ("text", "image"):
        expert = _able(registry, medium, settings)
        if expert and generate:
            yield await _round_trip(settings, expert)
        elif expert:
            yield Finding("note", f"{medium} worker not asked")
    for finding in _tokens():
        yield finding
    try:
        for finding in await _study(settings):
            yield finding
    except PasticheError as error:
        yield Finding("bad", "the study", str(error))


async def _study(settings: Settings) -> list[Finding]:
    """Check study and experiments, and that retention runs in time where people are served."""
    platforms = read_platform_settings()
    served = platforms.discord_token is not None or platforms.telegram_token is not None
    if not (served or settings.study) or len(set(revisions(settings))) > 1:
        return []
    findings = []
    async with open_services(settings) as services:
        silent, study = await services.retention.silence(), services.agreements.study
        known = services.study_services
        problems = known.experiments.problems if known is not None else []
    if study is not None and study.key is None:
        findings.append(Finding("bad", f"the study {study.id}", study.why))
    elif study is not None:
        findings.append(Finding("ok", f"the study {study.id} runs"))
    findings += [Finding("bad", "an experiment's file", problem) for problem in problems]
    if silent is not None and silent > ALARM_SECONDS:
        what = f"retention has not run for {silent / 3600:.0f} hours"
        advice = "pastiche serve runs it every hour; by hand: pastiche study retention"
        findings.append(Finding("bad", what, advice))
    return findings


def _packages() -> Iterator[Finding]:
    found, missing = [], []
    for name in PACKAGES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    if vllm := vllm_program():
        found.append(f"vLLM ({vllm})")
    yield Finding("ok", ", ".join(found))
    if missing:
        advice = "Run: .venv/bin/pip install -c constraints.txt -e ."
        yield Finding("bad", f"missing: {', '.join(missing)}", advice)


def _folder(name: str, folder: Path, setting: str) -> Finding:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=folder):
            free = shutil.disk_usage(folder).free
    except OSError as error:
        advice = f"It cannot be written to ({error.strerror}). Mend it, or name another: {setting}."
        return Finding("bad", f"{name} {folder}", advice)
    what = f"{name} {folder}, {free / (1 << 30):.1f} GiB free"
    if free < MIN_FREE:
        return Finding("note", what, "Little room is left; free some.")
    if stat.S_IMODE(folder.stat().st_mode) & 0o077:
        return Finding("note", what, f"Others can read it: chmod 700 '{folder}'")
    return Finding("ok", what)


def _ledger(settings: Settings) -> Iterator[Finding]:
    current, newest = revisions(settings)
    if current is None:
        yield Finding("note", "no ledger yet", "The first request makes it.")
        return
    check_key(settings)
    storage = storage_of(settings)
    what = f"ledger {storage.name}, schema {current}"
    if current == newest:
        yield Finding("ok", what)
    else:
        yield Finding("note", f"{what}, newest {newest}", "Run: pastiche db upgrade")
    key = "from PASTICHE_KEY" if settings.key else f"in {key_file(settings)}"
    yield Finding("ok", f"ledger key {key}; keep a copy of it apart from the data")
    for worry in storage.worries():
        yield Finding("note", "the database", worry)


def _able(registry: Registry, medium: Medium, settings: Settings) -> Expert | None:
    """Choose whom to ask: a text's first expert, a picture's only where its base is here."""
    able = [e for e in registry.experts if e.medium == medium]
    if medium == "text":
        return able[0] if able else registry.experts[0]
    here = (e for e in able if bases.present(registry.weights(e).base, settings.models))
    return next(here, None)


async def _round_trip(settings: Settings, expert: Expert) -> Finding:
    where = f"The whole story stands in {settings.home / 'logs'}."
    name = f"{expert.medium} worker round trip"
    try:
        async with asyncio.timeout(ROUND_TRIP_SECONDS):
            final = await _ask(settings, expert)
    except TimeoutError:
        return Finding("bad", name, f"No answer in {ROUND_TRIP_SECONDS:.0f} s. {where}")
    except PasticheError as error:
        return Finding("bad", name, f"{error} {where}")
    if not isinstance(final, Finished):
        reason = final.reason if isinstance(final, Failed) else "It was cancelled."
        return Finding("bad", name, f"{reason} {where}")
    if final.pictures:
        size = f"{final.pictures[0].width}x{final.pictures[0].height}"
        return Finding("ok", f"image worker drew {size} pixels in {final.seconds:.1f} s")
    rate = final.tokens_out / max(final.seconds, 1e-9)
    return Finding("ok", f"text worker answered: {final.tokens_out} tokens, {rate:.0f} a second")


async def _ask(settings: Settings, expert: Expert) -> Event:
    request = Request(
        command=expert.command,
        text="A gold ring." if expert.medium == "image" else "The lamp went out.",
        style=expert.name,
        platform="doctor",
        asker="doctor",
        place="doctor",
        length=None if expert.medium == "image" else 16,
        seed=1,
        private=True,  # nothing of it stays on record
    )
    async with open_engine(settings) as core:
        plan = core.plan(request)
        asking = asyncio.ensure_future(core.ask(plan))
        try:
            await asyncio.shield(asking)
            async with aclosing(core.follow(plan.job.id)) as events:
                return [event async for event in events][-1]
        finally:
            await asyncio.wait([asking])  # it is accepted even so, and only then can be taken back
            await core.cancel(plan.job.id)  # where nobody answered in time
            await core.delivered(plan.job.id)


_DISCORD = re.compile(r"(?<![\w-])[\w-]{20,100}\.[\w-]{6}\.[\w-]{25,}")
_TELEGRAM = re.compile(r"\d{6,12}:[\w-]{30,}")


def _tokens() -> Iterator[Finding]:
    """Check whether each is set and has the shape of a token; never tell the token itself."""
    try:
        platforms = read_platform_settings()
    except SetupError as error:
        yield Finding("bad", "the settings of Discord and Telegram", str(error))
        return
    yield from _serving(platforms)
    for name, token, shape in (
        ("DISCORD_TOKEN", platforms.discord_token, _DISCORD),
        ("TELEGRAM_TOKEN", platforms.telegram_token, _TELEGRAM),
    ):
        if token is None:
            yield Finding("note", f"{name} is not set", "Only needed to serve that platform.")
        elif shape.fullmatch(token.get_secret_value().strip()):
            yield Finding("ok", f"{name} is set")
        else:
            advice = "It does not look like a token. Copy it anew, without quotes."
            yield Finding("bad", f"{name} is set", advice)


def _serving(platforms: PlatformSettings) -> Iterator[Finding]:
    """Check what somebody who serves people should have set."""
    if platforms.image_check:
        try:
            load_classifier(platforms.image_check)
            yield Finding("ok", "the picture check loads")
        except SetupError as error:
            yield Finding("bad", "the picture check", str(error))
    if platforms.discord_token is None and platforms.telegram_token is None:
        return
    if not platforms.operators:
        advice = (
            "Set OPERATORS (discord:ID, telegram:ID): then /admin shows reports, pauses, blocks."
        )
        yield Finding("note", "nobody may use /admin", advice)
    if not platforms.contact:
        advice = "Set PASTICHE_CONTACT to an address; both platforms ask that /privacy names one."
        yield Finding("note", "/privacy names no contact", advice)
