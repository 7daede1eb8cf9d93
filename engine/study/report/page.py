"""The report as one HTML page that needs nothing else: no network, no script. Pure."""

from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files

from engine.study.report.figures import Figure, figure_html
from engine.study.report.primary import Finding
from engine.study.report.source_rows import link

SECTIONS = {
    "people": "People",
    "use": "Use",
    "judgement": "Judgement",
    "answers": "Answers to questions",
}


def page(
    title: str,
    lead: str,
    facts: Mapping[str, object],
    findings: Sequence[Finding],
    sections: Mapping[str, Sequence[Figure]],
    rows: Mapping[str, str],
) -> str:
    style, terms = (
        files("engine.study.report").joinpath(name).read_text(encoding="utf-8")
        for name in ("page.css", "terms.html")
    )
    names = [("findings", "Findings")] * bool(findings)
    names += [(name, SECTIONS[name]) for name in sections] + [("terms", "Terms"), ("rows", "Rows")]
    links = "".join(f'<a href="#{name}">{words}</a>' for name, words in names)
    tiles = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(str(value))}</dd></div>"
        for name, value in facts.items()
    )
    body = "".join(
        f'<section id="{name}"><h2>{SECTIONS[name]}</h2><div class="figures">'
        f"{''.join(map(figure_html, figures))}</div></section>"
        for name, figures in sections.items()
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><meta name="robots" content="noindex">'
        f"<title>{escape(title)}</title><style>{style}</style></head><body>"
        f"<header><h1>{escape(title)}</h1><p>{escape(lead)}</p><dl>{tiles}</dl><nav>{links}</nav></header>"
        f"<main>{_findings(findings)}{body}{terms}{_rows(rows)}</main></body></html>\n"
    )


def _findings(findings: Sequence[Finding]) -> str:
    parts = "".join(
        f"<article><h3>{escape(one.title)}</h3><p><b>Hypothesis:</b> {escape(one.hypothesis)}</p>"
        f"<p>{escape(one.preregistered)}</p>"
        f"{''.join(f'<p class=finding>{escape(said)}</p>' for said in one.sentences)}</article>"
        for one in findings
    )
    return f'<section id="findings"><h2>Findings</h2>{parts}</section>' if parts else ""


def _rows(rows: Mapping[str, str]) -> str:
    parts = []
    for name, text in rows.items():
        lines = text.splitlines()
        count = max(0, len(lines) - 1)
        columns = f"<p>{escape(lines[0].replace(',', ', '))}</p>" if lines else ""
        file, address = link(name, text)
        get = f'<a download="{file}" href="{address}">{file}</a>' if lines else f"{name}.csv"
        parts.append(
            f'<div id="rows-{name}" class="rows"><h3>{get}</h3><p>{count:,} rows</p>{columns}</div>'
        )
    return (
        '<section id="rows"><h2>The rows behind the figures</h2><p>Identifiers are those of an export '
        "made with the same ledger, pseudonyms their first 12 characters. Nothing that anybody wrote is "
        "in this page. Long files are compressed; <code>pandas.read_csv</code> reads them as they are."
        "</p>"
        f"{''.join(parts)}</section>"
    )
