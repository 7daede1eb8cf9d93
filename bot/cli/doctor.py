"""`pastiche doctor`: what is wrong on this machine, and what to do about it. Each check is one line."""

import asyncio
import importlib.metadata
import os
import platform
import re
import shutil
import stat
from collections.abc import AsyncGenerator
from contextlib import aclosing

from bot.cli.findings import Finding, look_at_models
from bot.settings import PlatformSettings, read_platform_settings
from engine.chat.retention import ALARM_SECONDS
from engine.engine import events_of
from engine.errors import PasticheError, SetupError
from engine.events import Event, Failed, Finished, is_final
from engine.ledger.storage import check_key, key_file, revisions, storage_of
from engine.moderation.images import load_classifier
from engine.plan.cards import load_registry
from engine.plan.job import Request
from engine.process.bootstrap import open_engine
from engine.process.composition import open_desk
from engine.settings import Settings
from engine.weights import bases

PACKAGES = ("torch", "transformers", "peft", "diffusers", "accelerate", "safetensors", "gguf",
            "sqlalchemy", "discord.py", "python-telegram-bot", "openai")  # fmt: skip
MIN_FREE = 2 << 30  # bytes
ROUND_TRIP_SECONDS = 180.0  # a first load of a big base from a slow disk is in it


async def examine(settings: Settings, *, generate: bool = True) -> AsyncGenerator[Finding]:
    """Run every check in the order in which a newcomer meets its trouble."""
    yield Finding(mark="ok", what=f"Python {platform.python_version()}")
    for finding in _packages():
        yield finding
    yield _home(settings)
    try:
        for finding in _ledger(settings):
            yield finding
        registry = load_registry(settings.expert_roots, settings.profile)
    except PasticheError as error:
        yield Finding(mark="bad", what="ledger and cards", advice=str(error))
        return
    for problem in registry.problems:
        yield Finding(mark="note", what="a card is set aside", advice=problem)
    for finding in await asyncio.to_thread(look_at_models, registry, settings.models):
        yield finding
    for medium in _media(settings):
        if generate:
            yield await _round_trip(settings, medium)
        else:
            yield Finding(mark="note", what=f"{medium} worker not asked")
    for finding in _tokens():
        yield finding
    try:
        for finding in await _study(settings):
            yield finding
    except PasticheError as error:
        yield Finding(mark="bad", what="the study", advice=str(error))


async def _study(settings: Settings) -> list[Finding]:
    """Check study and experiments, and that retention runs in time where people are served."""
    platforms = read_platform_settings()
    served = platforms.discord_token is not None or platforms.telegram_token is not None
    if not (served or settings.study) or len(set(revisions(settings))) > 1:
        return []
    findings = []
    async with open_desk(settings) as desk:
        silent, study = await desk.silence(), desk.agreements.study
        problems = desk.lab.experiments.problems if desk.lab is not None else []
    if study is not None and study.key is None:
        findings.append(Finding(mark="bad", what=f"the study {study.id}", advice=study.why))
    elif study is not None:
        findings.append(Finding(mark="ok", what=f"the study {study.id} runs"))
    for problem in problems:
        findings.append(Finding(mark="bad", what="an experiment's file", advice=problem))
    if silent is not None and silent > ALARM_SECONDS:
        what = f"retention has not run for {silent / 3600:.0f} hours"
        advice = "pastiche serve runs it every hour; by hand: pastiche study retention"
        findings.append(Finding(mark="bad", what=what, advice=advice))
    return findings


def _packages() -> list[Finding]:
    found, missing = [], []
    for name in PACKAGES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    findings = [Finding(mark="ok", what=", ".join(found))]
    if missing:
        advice = "Run: pip install -c constraints.txt -e ."
        findings.append(Finding(mark="bad", what=f"missing: {', '.join(missing)}", advice=advice))
    return findings


def _home(settings: Settings) -> Finding:
    home = settings.home
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        free = shutil.disk_usage(home).free
    except OSError as error:
        advice = f"It cannot be made ({error.strerror}). Name another with PASTICHE_HOME."
        return Finding(mark="bad", what=f"data folder {home}", advice=advice)
    what = f"data folder {home}, {free / (1 << 30):.1f} GiB free"
    if not os.access(home, os.W_OK):
        return Finding(mark="bad", what=what, advice="It is read-only. Mend its permissions.")
    if free < MIN_FREE:
        return Finding(mark="note", what=what, advice="Little room is left; free some.")
    if stat.S_IMODE(home.stat().st_mode) & 0o077:
        return Finding(mark="note", what=what, advice=f"Others can read it: chmod 700 '{home}'")
    return Finding(mark="ok", what=what)


def _ledger(settings: Settings) -> list[Finding]:
    current, newest = revisions(settings)
    if current is None:
        return [Finding(mark="note", what="no ledger yet", advice="The first request makes it.")]
    check_key(settings)
    storage = storage_of(settings)
    key = "from PASTICHE_KEY" if settings.key else f"in {key_file(settings)}"
    findings = [Finding(mark="ok", what=f"ledger key {key}; keep a copy of it apart from the data")]
    if current == newest:
        findings.insert(0, Finding(mark="ok", what=f"ledger {storage.name}, schema {current}"))
    else:
        what = f"ledger {storage.name}, schema {current}, newest {newest}"
        findings.insert(0, Finding(mark="note", what=what, advice="Run: pastiche db upgrade"))
    for worry in storage.worries():
        findings.append(Finding(mark="note", what="the database", advice=worry))
    return findings


def _media(settings: Settings) -> list[str]:
    """Name the workers to ask: texts always, pictures where a base for them is here."""
    registry = load_registry(settings.expert_roots, settings.profile)
    drawing = [e for e in registry.experts if e.medium == "image"]
    here = any(bases.present(registry.weights(e).base, settings.models) for e in drawing)
    return ["text", "image"] if here else ["text"]


async def _round_trip(settings: Settings, medium: str) -> Finding:
    """Send a short real request through queue and worker and back."""
    where = f"The whole story stands in {settings.home / 'logs'}."
    name = f"{medium} worker round trip"
    try:
        async with asyncio.timeout(ROUND_TRIP_SECONDS):
            final = await _ask(settings, medium)
    except TimeoutError:
        advice = f"No answer in {ROUND_TRIP_SECONDS:.0f} s. {where}"
        return Finding(mark="bad", what=name, advice=advice)
    except PasticheError as error:
        return Finding(mark="bad", what=name, advice=f"{error} {where}")
    if not isinstance(final, Finished):
        reason = final.reason if isinstance(final, Failed) else "It was cancelled."
        return Finding(mark="bad", what=name, advice=f"{reason} {where}")
    if final.pictures:
        first = final.pictures[0]
        what = f"image worker drew {first.width}x{first.height} pixels in {final.seconds:.1f} s"
        return Finding(mark="ok", what=what)
    rate = final.tokens_out / max(final.seconds, 1e-9)
    what = f"text worker answered: {final.tokens_out} tokens, {rate:.0f} a second"
    return Finding(mark="ok", what=what)


async def _ask(settings: Settings, medium: str) -> Event | None:
    registry = load_registry(settings.expert_roots, settings.profile)
    able = [e for e in registry.experts if e.medium == medium]
    if medium == "image":
        able = [e for e in able if bases.present(registry.weights(e).base, settings.models)]
    expert = able[0] if able else registry.experts[0]
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
    async with open_engine(settings) as core, aclosing(events_of(core, request)) as events:
        async for event in events:
            if is_final(event):
                await core.delivered(event.job)
                return event
    return None


_DISCORD = re.compile(r"(?<![\w-])[\w-]{20,100}\.[\w-]{6}\.[\w-]{25,}")
_TELEGRAM = re.compile(r"\d{6,12}:[\w-]{30,}")


def _tokens() -> list[Finding]:
    """Check whether each is set and has the shape of a token; never tell the token itself."""
    try:
        tokens = read_platform_settings()
    except SetupError as error:
        return [Finding(mark="bad", what="the settings of Discord and Telegram", advice=str(error))]
    findings = _house(tokens)
    for name, token, shape in (
        ("DISCORD_TOKEN", tokens.discord_token, _DISCORD),
        ("TELEGRAM_TOKEN", tokens.telegram_token, _TELEGRAM),
    ):
        if token is None:
            advice = "Only needed to serve that platform."
            findings.append(Finding(mark="note", what=f"{name} is not set", advice=advice))
        elif shape.fullmatch(token.get_secret_value().strip()):
            findings.append(Finding(mark="ok", what=f"{name} is set"))
        else:
            advice = "It does not look like a token. Copy it anew, without quotes."
            findings.append(Finding(mark="bad", what=f"{name} is set", advice=advice))
    return findings


def _house(platforms: PlatformSettings) -> list[Finding]:
    """Check what somebody who serves people should have set."""
    findings = []
    if platforms.image_check:
        try:
            load_classifier(platforms.image_check)
            findings.append(Finding(mark="ok", what="the picture check loads"))
        except SetupError as error:
            findings.append(Finding(mark="bad", what="the picture check", advice=str(error)))
    if platforms.discord_token is None and platforms.telegram_token is None:
        return findings
    if not platforms.operators:
        advice = (
            "Set OPERATORS (discord:ID, telegram:ID): then /admin shows reports, pauses, blocks."
        )
        findings.append(Finding(mark="note", what="nobody may use /admin", advice=advice))
    if not platforms.contact:
        advice = "Set PASTICHE_CONTACT to an address; both platforms ask that /privacy names one."
        findings.append(Finding(mark="note", what="/privacy names no contact", advice=advice))
    return findings
