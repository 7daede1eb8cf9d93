"""The three files of an exported table, and a private folder or file that is whole or not there."""

import csv
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from engine.errors import SetupError
from engine.files import whole_file
from engine.study.export.codebook import Column, Row

Write = Callable[[Sequence[Row]], None]
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
        case "json":
            return clean(value if isinstance(value, str) else canonical(value))
        case "time":
            return iso(value)
        case "text" | "word":
            return clean(value)
        case _:
            return value


def canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


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


def needed(package: str) -> None:
    """Raise SetupError, which says how to install it, without this package of the extra `study`."""
    try:
        import_module(package)
    except ImportError:
        raise SetupError(
            f"This needs {package}, which is not installed. In the folder of the program: "
            ".venv/bin/pip install -c constraints.txt -e '.[study]'"
        ) from None
