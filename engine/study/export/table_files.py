"""The three files of an exported table, and a private folder or file that is whole or not there."""

import csv
import io
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engine.errors import SetupError
from engine.files import whole_file, whole_folder, write_file
from engine.study.export.codebook import Column, Row

# What a spreadsheet may take for a formula (OWASP, "CSV Injection"), and our own mark.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠", "'")


def safe_cell(text: str) -> str:
    """Escape a text as a CSV cell that no spreadsheet runs; plain_cell is the inverse.

    >>> safe_cell("=1+1"), safe_cell("1+1"), safe_cell("'tis")
    ("'=1+1", '1+1', "''tis")
    """
    return f"'{text}" if text.startswith(FORMULA) else text


def plain_cell(text: str) -> str:
    """Undo safe_cell.

    >>> plain_cell(safe_cell("-1"))
    '-1'
    """
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
    cells = [[plain(column, row[column.name]) for column in columns] for row in rows]
    names = [column.name for column in columns]
    lines = (json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False) for row in cells)
    write_file(folder / f"{name}.jsonl", "".join(f"{line}\n" for line in lines), private=True)
    write_file(folder / f"{name}.csv", _csv(columns, cells), private=True)
    write_file(folder / f"{name}.parquet", _parquet(columns, rows, cells), private=True)


def _csv(columns: Sequence[Column], cells: Sequence[list[Any]]) -> str:
    file = io.StringIO(newline="")
    # all quoted: readers differ in which characters end a row or a cell
    writer = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerow([column.name for column in columns])
    for row in cells:
        writer.writerow([_csv_cell(value) for value in row])
    return file.getvalue()


def _csv_cell(value: Any) -> Any:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case str():
            return safe_cell(value)
        case _:
            return value


def _parquet(columns: Sequence[Column], rows: Sequence[Row], cells: Sequence[list[Any]]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {
        "whole": pa.int64(),
        "number": pa.float64(),
        "flag": pa.bool_(),
        "time": pa.timestamp("ms", tz="UTC"),
    }
    fields = [pa.field(one.name, kinds.get(one.kind, pa.string())) for one in columns]
    arrays = []
    for number, column in enumerate(columns):
        values = [row[number] for row in cells]
        if column.kind == "time":
            times = (row[column.name] for row in rows)
            values = [None if time is None else milliseconds(time) for time in times]
        arrays.append(pa.array(values, type=fields[number].type))
    table = pa.Table.from_arrays(arrays, schema=pa.schema(fields))
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", version="2.6", row_group_size=20_000)
    return bytes(sink.getvalue())


def write_whole(path: Path, text: str) -> None:
    with disk_errors(path), whole_file(path, private=True) as part:
        part.write_text(text, encoding="utf-8")


@contextmanager
def export_folder(path: Path, *, replace: bool) -> Iterator[Path]:
    """Give a private folder to fill; it takes the name `path` only when filled. Raises SetupError."""
    with disk_errors(path), whole_folder(path, private=True, replace=replace) as folder:
        yield folder


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
