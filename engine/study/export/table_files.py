"""The files of an exported table, SPSS's apart, and what the disk or a missing package refuses."""

import csv
import json
import re
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from engine.errors import SetupError
from engine.files import whole_file
from engine.study.export.codebook import Column, Row

Write = Callable[[Sequence[Row]], None]
SPSS_LABEL = 120  # characters of a column's label, which may have 256 bytes
SPSS_TIME = 92  # where a .sav says when it was made
KINDS = (".parquet", ".jsonl", ".csv")
# What a spreadsheet may take for a formula (OWASP, "CSV Injection"), and our own mark.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠", "'")


def safe_cell(text: str) -> str:
    """Escape a text as a CSV cell that no spreadsheet runs; plain_cell is the inverse.

    >>> safe_cell("=1+1"), safe_cell("1+1"), safe_cell("'tis")
    ("'=1+1", '1+1', "''tis")
    """
    return f"'{text}" if text.startswith(FORMULA) else text


def plain_cell(text: str) -> str:
    """Undo safe_cell."""
    return text[1:] if text.startswith("'") else text


def iso(seconds: float) -> str:
    """Write a time in UTC, to the millisecond.

    >>> iso(0.0625)
    '1970-01-01T00:00:00.062Z'
    """
    whole, thousandths = divmod(milliseconds(seconds), 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{thousandths:03}Z"


def milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def plain(column: Column, value: Any) -> Any:
    """Make a cell for JSONL and, times apart, Parquet: JSON written out, no stray characters."""
    if value is None:
        return None
    match column.kind:
        case "json" if not isinstance(value, str):
            text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
            return clean(text)
        case "json" | "text" | "word":
            return clean(value)
        case "time":
            return iso(value)
        case _:
            return value


def clean(text: str) -> str:
    """Replace what not every reader takes: NUL, halves of surrogate pairs."""
    return (
        text.replace("\0", "\ufffd")
        .encode("utf-16-le", "surrogatepass")
        .decode("utf-16-le", "replace")
    )


def write_tables(folder: Path, name: str, columns: Sequence[Column], rows: Sequence[Row]) -> None:
    for kind in KINDS:
        path = folder / f"{name}{kind}"
        with whole_file(path, private=True) as part, table_writer(part, kind, columns) as write:
            write(rows)


@contextmanager
def table_writer(path: Path, kind: str, columns: Sequence[Column]) -> Iterator[Write]:
    """Give a function that adds rows to a file of that kind, so that not all are in memory at once."""
    if kind == ".parquet":
        with _parquet(path, columns) as write:
            yield write
        return
    with path.open("w", encoding="utf-8", newline="") as file:
        names = [column.name for column in columns]
        # all quoted: readers differ in which characters end a row or a cell
        sheet = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
        if kind == ".csv":
            sheet.writerow(names)

        def write(rows: Sequence[Row]) -> None:
            for row in rows:
                cells = [plain(column, row[column.name]) for column in columns]
                if kind == ".csv":
                    sheet.writerow(map(_csv_cell, cells))
                else:
                    line = json.dumps(dict(zip(names, cells, strict=True)), ensure_ascii=False)
                    file.write(f"{line}\n")

        yield write


def _csv_cell(value: Any) -> Any:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return safe_cell(value)
        case _:
            return value


@contextmanager
def _parquet(path: Path, columns: Sequence[Column]) -> Iterator[Write]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {
        "whole": pa.int64(),
        "number": pa.float64(),
        "flag": pa.bool_(),
        "time": pa.timestamp("ms", tz="UTC"),
    }
    schema = pa.schema([(one.name, kinds.get(one.kind, pa.string())) for one in columns])

    def cell(column: Column, value: Any) -> Any:
        timed = column.kind == "time" and value is not None
        return milliseconds(value) if timed else plain(column, value)

    with pq.ParquetWriter(path, schema, compression="zstd", version="2.6") as writer:

        def write(rows: Sequence[Row]) -> None:
            cells = [{one.name: cell(one, row[one.name]) for one in columns} for row in rows]
            writer.write_table(pa.Table.from_pylist(cells, schema=schema), row_group_size=20_000)

        yield write


def write_spss(
    path: Path, columns: Sequence[Column], rows: Sequence[Row], questions: Sequence[Row]
) -> None:
    """Write a table for SPSS, choices as numbers with their labels. The same rows, the same bytes."""
    import pandas
    import pyreadstat

    asked = {row["id"]: row for row in questions}
    frame: dict[str, Any] = {}
    about, labels = dict[str, str | None](), dict[str, dict[float, str]]()
    for column in columns:
        name = _spss_name(column.name, frame)
        codes, labels[name] = _coded(column, asked.get(column.name, {}))
        cells = [row[column.name] for row in rows]
        if codes:
            cells = [codes.get(value) for value in cells]
        if column.kind == "time":
            spent = [None if value is None else milliseconds(value) for value in cells]
            frame[name] = pandas.to_datetime(spent, unit="ms")
        elif codes or column.kind in ("whole", "number"):
            frame[name] = pandas.Series(cells, dtype="float64")
        else:
            frame[name] = pandas.Series([plain(column, v) or "" for v in cells], dtype="object")
        about[name] = column.about[:SPSS_LABEL]
    with whole_file(path, private=True) as part:
        pyreadstat.write_sav(
            pandas.DataFrame(frame), part, column_labels=about, variable_value_labels=labels
        )
        with part.open("r+b") as file:
            file.seek(SPSS_TIME)
            file.write(b"01 Jan 7000:00:00")


def _coded(column: Column, asked: Row) -> tuple[dict[Any, float], dict[float, str]]:
    """Give the numbers that stand for what was answered, where it is none; and the labels of numbers."""
    if column.kind == "flag":
        return {False: 0.0, True: 1.0}, {0.0: "no", 1.0: "yes"}
    words = asked.get("labels", {})
    if asked.get("kind") == "choice":
        codes = {value: float(number) for number, value in enumerate(asked["values"], 1)}
        return codes, {codes[value]: label for value, label in words.items()}
    numeric = column.kind in ("whole", "number")
    return {}, {float(value): label for value, label in words.items()} if numeric else {}


def _spss_name(name: str, taken: Collection[str]) -> str:
    """Make a name that SPSS takes.

    >>> _spss_name("my-study.after.liked", ()), _spss_name("2nd.arm", ("q2nd.arm",))
    ('my_study.after.liked', 'q2nd.arm_1')
    """
    known = re.sub(r"[^a-z0-9_.]", "_", name if name[0].isalpha() else f"q{name}")[:60].rstrip(".")
    return f"{known}_{len(taken)}" if known in taken else known


def write_whole(path: Path, text: str) -> None:
    with disk_errors(path), whole_file(path, private=True) as part:
        part.write_text(text, encoding="utf-8")


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn what the disk refuses into a SetupError that says what to do; nothing half stays."""
    try:
        yield
    except OSError as error:
        raise SetupError(
            f"{path} cannot be written ({error.strerror or error}); nothing was left there. Make room "
            "or name another place with --out, then run it again."
        ) from error


def needed(package: str, extra: str = "study") -> None:
    """Raise SetupError, which says how to install it, without this package of an extra."""
    try:
        import_module(package)
    except ImportError:
        raise SetupError(
            f"This needs {package}, which is not installed. In the folder of the program: "
            f".venv/bin/pip install -c constraints.txt -e '.[{extra}]'"
        ) from None
