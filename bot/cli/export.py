"""`pastiche study export`, `review`, `diff`, `report`, and `pastiche log`: from rows to files."""

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from bot.exit_codes import faults, logged
from engine import shutdown
from engine.errors import CommandError
from engine.study.disclosure.review import review_list
from engine.study.export.export import Exported, export_study, review_study
from engine.study.export.log import beginning_of, check_out, write_log
from engine.study.export.manifest import Difference, difference
from engine.study.export.release import Form, Grain, Options
from engine.study.export.table_files import write_whole

export_app = typer.Typer()
StudyName = Annotated[str, typer.Option("--study", help="The study's name.")]
GONE = 3  # of `diff`: somebody is gone, whose rows must go from older copies too


@export_app.command("export")
def export_command(
    study: StudyName,
    out: Annotated[Path, typer.Option(help="A new folder.")],
    form: Annotated[
        Form,
        typer.Option(help="private: for the study's team. public: words only with that consent."),
    ] = "private",
    times: Annotated[
        Grain | None,
        typer.Option(
            "--coarsen-times", help="Cut times; default: exact, or hour in the public form."
        ),
    ] = None,
    k: Annotated[
        int | None,
        typer.Option(
            min=1, max=1000, help="People that a combination must have; else study.toml's."
        ),
    ] = None,
    review: Annotated[
        Path | None, typer.Option(help="A filled review list: pastiche study review.")
    ] = None,
    spss: Annotated[bool, typer.Option("--spss", help="people.sav and trials.sav too.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="In an older export's place.")] = False,
) -> None:
    """Write a study's rows as Parquet, JSONL and CSV, with codebook, card and checksums."""
    given = locals()
    with logged("study") as settings:
        options = Options(**given | {"out": out.expanduser()})
        sys.stdout.write(_told(shutdown.run(export_study(options, settings)), options))


def _told(done: Exported, options: Options) -> str:
    rows = ", ".join(f"{name} {count}" for name, count in done.rows.items() if count)
    taken = ", ".join(f"{kind} {count}" for kind, count in done.taken.items())
    lines = [
        f"{done.out}: {rows or 'no rows yet; the export is empty, and says so'}.",
        f"People: {done.people}. Taken out of the texts: {taken or 'nothing was found'}.",
        _gate(done),
    ]
    if options.review is None:
        lines.append(
            f"Names may remain: pastiche study review --study {options.study} --out review.csv"
        )
    lines.append(f"Manifest: {done.manifest_sha256}")
    return "\n".join(lines) + "\n"


def _gate(done: Exported) -> str:
    report = done.anonymity
    k, names = report["k"], ", ".join(report["quasi_identifiers"])
    if report["enforced"]:
        cells = sum(report["cells_coarsened"].values())
        return (
            f"k-anonymity: every combination of {names} has at least {k} people; {cells} cells were "
            "coarsened."
        )
    small, groups = report["groups_too_small_before"], report["groups_before"]
    return (
        f"k-anonymity is not enforced in the private form without --k: {small} of {groups} combinations "
        f"of {names} have fewer than {k} people."
    )


@export_app.command("review")
def review_command(
    study: StudyName,
    out: Annotated[Path, typer.Option(help="The list, a CSV file.")] = Path("review.csv"),
) -> None:
    """List what an export would take out of the texts, and what may be a name, to be decided on."""
    with logged("study") as settings:
        out = out.expanduser().absolute()
        if out.exists():
            raise CommandError(f"{out} is there already; its decisions are not overwritten.")
        findings = shutdown.run(review_study(settings, study))
        write_whole(out, review_list(findings))
        sys.stdout.write(
            f"{out}: {len(findings)} finds. Write keep or remove under `decision`, for these words "
            "wherever they stand (empty: as under `default`), then:\n"
            f"pastiche study export --study {study} --review {out.name} --out DIR\n"
            "The list holds the very words that are to go. Delete it when you are done.\n"
        )


@export_app.command("diff")
def diff_command(
    old: Annotated[Path, typer.Argument(help="An older export.")],
    new: Annotated[Path, typer.Argument(help="A newer one.")],
) -> None:
    """Who and what is gone, new or changed between two exports.

    Exit code 3 when a person is gone: then delete their rows from every older copy.
    """
    with faults():
        found = difference(old.expanduser(), new.expanduser())
        sys.stdout.write(_differences(found))
        if found.gone_people:
            raise typer.Exit(GONE)


def _differences(found: Difference) -> str:
    lines = [
        f"Made with another {name.replace('_', ' ')}: {before!r}, now {after!r}."
        for name, (before, after) in found.options.items()
    ]
    marks = (("gone", found.gone), ("new", found.new), ("changed", found.changed))
    for word, counts in marks:
        lines += [f"{word} rows in {table}: {count}" for table, count in sorted(counts.items())]
    lines += [f"{person} is new in the study" for person in found.new_people]
    lines += [f"{person} is gone from the study" for person in found.gone_people]
    if not (found.gone or found.new or found.changed):
        lines.append("The rows are the same.")
    if found.gone_people:
        lines.append(
            f"People gone: {len(found.gone_people)}. Delete their rows from every copy of the older "
            "export; what was published cannot be called back."
        )
    return "\n".join(lines) + "\n"


@export_app.command("report")
def report_command(
    study: StudyName, out: Annotated[Path, typer.Option(help="The page.")] = Path("report.html")
) -> None:
    """Draw a study as one page that needs no network: use, speed, ratings, comparisons, guesses."""
    with logged("study") as settings:
        from engine.study.report.report import report_study

        out = out.expanduser()
        count = shutdown.run(report_study(settings, study, out))
        sys.stdout.write(f"{out}: {count} interactions. Open it in a browser.\n")


log_app = typer.Typer()


@log_app.command("log")
def log_command(
    since: Annotated[
        str, typer.Option(help="So long ago (12h, 7d, 4w), or a day: 2026-11-20.")
    ] = "7d",
    out: Annotated[Path, typer.Option(help="The file: .parquet, .csv or .jsonl.")] = Path(
        "log.parquet"
    ),
    replace: Annotated[bool, typer.Option("--replace", help="In an older file's place.")] = False,
) -> None:
    """Requests with their prompts, experts and answers, as one table.

    Each with its rule, evidence, runners-up, digests, output and timings.
    Of the terminal here, and of people whose consent to a study holds: those scrubbed, as in its export.
    The column `blanked` names what is gone; PASTICHE_TERMINAL_HOURS keeps the terminal's words longer.
    """
    with logged("log") as settings:
        from rich.console import Console

        out, now = out.expanduser().absolute(), time.time()
        beginning = beginning_of(since, now)
        check_out(out, settings, replace=replace)
        with Console(stderr=True).status("Reading the ledger") as status:

            def told(count: int) -> None:
                status.update(f"Reading the ledger: {count:,} requests")

            done = shutdown.run(write_log(settings, out, beginning, told))
        sys.stdout.write(_logged_words(out, done, settings.terminal_hours))


def _logged_words(out: Path, done: Mapping[str, int], hours: int) -> str:
    lines = [
        f"{out}: {done['terminal']} requests of the terminal, {done['people']} of people who agreed."
    ]
    if done["blanked"]:
        lines.append(
            f"Of {done['blanked']} some words are gone (column `blanked`). The terminal's stay {hours} "
            "hours; PASTICHE_TERMINAL_HOURS keeps them longer from now on."
        )
    return "\n".join(lines) + "\n"
