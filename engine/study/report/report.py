"""`pastiche study report`: read, count, draw, write one page that needs no network and no script."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from html import escape
from importlib.resources import files
from pathlib import Path

from engine.errors import CommandError
from engine.settings import Settings
from engine.study.export.codebook import Tables, columns
from engine.study.export.dataset import Reading, read_study
from engine.study.export.release import Scrub, Shape, shape
from engine.study.export.table_files import iso, needed, write_whole
from engine.study.lifecycle import opened_database
from engine.study.report.answers import answers
from engine.study.report.figures import Figure, figure_html
from engine.study.report.judgements import findings, judgements
from engine.study.report.primary import Finding
from engine.study.report.recruitment import recruitment
from engine.study.report.usage import usage
from engine.study.study import StudyFile, read_study_file


async def report_study(settings: Settings, study: str, out: Path) -> int:
    """Write the page; return how many interactions it is about. Raises CommandError or SetupError."""
    needed("matplotlib")
    file = read_study_file(settings, study)
    if out.is_dir():
        raise CommandError(f"{out} is a folder. Name a file, such as {out / 'report.html'}.")
    async with opened_database(settings) as database:
        reading = await read_study(database, study)
    write_whole(out.absolute(), report_page(file, reading))
    return len(reading.tables["interactions"])


def report_page(file: StudyFile, reading: Reading) -> str:
    wordless: Tables = {}
    for name, rows in reading.tables.items():
        free = {column.name: None for column in columns(name) if column.free}
        wordless[name] = [{**row, **free} for row in rows]
    tables = shape(replace(reading, tables=wordless), Shape(), Scrub()).tables
    sections = {
        "people": ("People", recruitment(tables, reading.flow)),
        "use": ("Use", usage(tables)),
        "judgement": ("Judgement", judgements(tables)),
        "answers": ("Answers to questions", answers(tables)),
    }
    shown = {name: part for name, part in sections.items() if part[1]}
    return _page(file, _facts(reading, tables), findings(tables), shown)


def _facts(reading: Reading, tables: Tables) -> dict[str, str]:
    times = [row["accepted_at"] for row in tables["interactions"]]
    facts = {
        "people": f"{reading.flow.people['agree_now']:,}",
        "interactions": f"{len(times):,}",
        "ratings": f"{sum(row['counts'] for row in tables['ratings']):,}",
        "judgements": f"{sum(row['counts'] for row in tables['votes']):,}",
    }
    if times:
        facts |= {"first": iso(min(times))[:10], "last": iso(max(times))[:10]}
    return facts


def _page(
    file: StudyFile,
    facts: Mapping[str, str],
    findings: Sequence[Finding],
    sections: Mapping[str, tuple[str, Sequence[Figure]]],
) -> str:
    title = escape(file.title)
    lead = f"A study by {file.researcher}. For the team: some numbers may be of single people."
    style, terms = (
        files("engine.study.report").joinpath(name).read_text(encoding="utf-8")
        for name in ("page.css", "terms.html")
    )
    names = [("findings", "Findings")] * bool(findings)
    names += [*((name, words) for name, (words, _) in sections.items()), ("terms", "Terms")]
    links = "".join(f'<a href="#{name}">{words}</a>' for name, words in names)
    tiles = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"
        for name, value in facts.items()
    )
    body = "".join(
        f'<section id="{name}"><h2>{words}</h2><div class="figures">'
        f"{''.join(map(figure_html, figures))}</div></section>"
        for name, (words, figures) in sections.items()
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><meta name="robots" content="noindex">'
        f"<title>{title}</title><style>{style}</style></head><body>"
        f"<header><h1>{title}</h1><p>{escape(lead)}</p><dl>{tiles}</dl><nav>{links}</nav></header>"
        f"<main>{_findings(findings)}{body}{terms}</main></body></html>\n"
    )


def _findings(findings: Sequence[Finding]) -> str:
    parts = "".join(
        f"<article><h3>{escape(one.title)}</h3><p><b>Hypothesis:</b> {escape(one.hypothesis)}</p>"
        f"<p>{escape(one.preregistered)}</p>"
        f"{''.join(f'<p class=finding>{escape(said)}</p>' for said in one.sentences)}</article>"
        for one in findings
    )
    return f'<section id="findings"><h2>Findings</h2>{parts}</section>' if parts else ""
