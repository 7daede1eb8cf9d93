"""`pastiche study report`: read, count, draw, write one page."""

from dataclasses import replace
from pathlib import Path

from engine.errors import CommandError
from engine.settings import Settings
from engine.study.disclosure.presidio import needed
from engine.study.export.codebook import Tables, columns
from engine.study.export.dataset import Reading, read_study
from engine.study.export.export import check_experiment, opened_database
from engine.study.export.release import Scrub, Shape, shape
from engine.study.export.table_files import iso, write_whole
from engine.study.report.answers import answers
from engine.study.report.judgements import findings, judgements
from engine.study.report.page import page
from engine.study.report.recruitment import recruitment
from engine.study.report.source_rows import source_rows
from engine.study.report.usage import usage
from engine.study.study import StudyFile, read_study_file


async def report_study(settings: Settings, study: str, out: Path, experiment: str | None) -> int:
    """Write the page; return how many interactions it is about. Raises CommandError or SetupError."""
    needed("matplotlib", "study")
    file = read_study_file(settings, study)
    if out.is_dir():
        raise CommandError(f"{out} is a folder. Name a file, such as {out / 'report.html'}.")
    async with opened_database(settings) as database:
        reading = await read_study(database, study, experiment)
        await check_experiment(database, reading, experiment)
    write_whole(out.absolute(), report_page(file, reading, experiment))
    return len(reading.tables["interactions"])


def report_page(file: StudyFile, reading: Reading, experiment: str | None = None) -> str:
    tables = shape(_wordless(reading), Shape(), Scrub()).tables
    about = f", experiment {experiment}" if experiment else ""
    return page(
        title=f"{file.title}{about}",
        lead=f"A study by {file.researcher}. For the team: some numbers may be of single people.",
        facts=_facts(reading, tables),
        findings=findings(tables),
        sections={
            "people": recruitment(tables, reading.flow),
            "use": usage(tables),
            "judgement": judgements(tables),
            **({"answers": asked} if (asked := answers(tables)) else {}),
        },
        rows=source_rows(tables),
    )


def _wordless(reading: Reading) -> Reading:
    tables: Tables = {}
    for name, rows in reading.tables.items():
        free = {column.name: None for column in columns(name) if column.free}
        tables[name] = [{**row, **free} for row in rows]
    return replace(reading, tables=tables)


def _facts(reading: Reading, tables: Tables) -> dict[str, object]:
    times = [row["accepted_at"] for row in tables["interactions"]]
    votes = sum(row["counts"] for row in tables["votes"])
    facts: dict[str, object] = {
        "people": f"{reading.flow.people:,}",
        "interactions": f"{len(tables['interactions']):,}",
        "ratings": f"{sum(row['counts'] for row in tables['ratings']):,}",
        "judgements": f"{votes:,}",
    }
    if times:
        facts |= {"first": iso(min(times))[:10], "last": iso(max(times))[:10]}
    return facts
