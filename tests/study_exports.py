"""What the tests of a study's export share. No test."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from study_rows import STUDY, Rows

from engine.ledger.transactions import Database
from engine.settings import Settings
from engine.study.export.export import Exported, export_study
from engine.study.export.release import Options


async def export(settings: Settings, out: Path, **changes: Any) -> Exported:
    """The made-up study's export."""
    return await export_study(replace(Options(study=STUDY, out=out), **changes), settings)


def command(out: Path, *more: str) -> list[str]:
    """The same as a program."""
    words = ["export", "--study", STUDY, "--out", str(out), *more]
    return [sys.executable, "-c", "from bot.cli.export import export_app as a; a()", *words]


def everything(folder: Path) -> dict[str, bytes]:
    """Every file by its path."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def lines(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSONL file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


async def interactions(database: Database, *texts: str) -> list[str]:
    """One person who wrote these."""
    async with database.writing() as connection:
        rows = Rows(connection, seed=len(texts))
        consent = await rows.consent(rows.person(0))
        return [await rows.interaction(rows.person(0), consent, text=text) for text in texts]
