"""Writing an export: the three forms of a table, and folders and files that are whole or not there."""

import contextlib
import csv
import errno
import io
import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import SetupError
from engine.study.export.codebook import Column, Row

if TYPE_CHECKING:
    import pyarrow as pa

# What a spreadsheet may take for a formula (OWASP, "CSV Injection"), and our own mark.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠", "'")
FORMATS = ("parquet", "jsonl", "csv")


def safe_cell(text: str) -> str:
    """The text as a CSV cell that no spreadsheet runs; plain_cell has it back.

    >>> safe_cell("=1+1"), safe_cell("1+1"), safe_cell("'tis")
    ("'=1+1", '1+1', "''tis")
    """
    return f"'{text}" if text.startswith(FORMULA) else text


def plain_cell(text: str) -> str:
    """What safe_cell made safe, as it was.

    >>> plain_cell(safe_cell("-1"))
    '-1'
    """
    return text[1:] if text.startswith("'") else text


def iso(seconds: float) -> str:
    """A time in UTC, to the millisecond.

    >>> iso(0.0625)
    '1970-01-01T00:00:00.062Z'
    """
    whole, thousandths = divmod(milliseconds(seconds), 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{thousandths:03}Z"


def milliseconds(seconds: float) -> int:
    """Whole milliseconds since 1970, rounded as in every form of the export."""
    return round(seconds * 1000)


def plain(column: Column, value: Any) -> Any:
    """A cell as it goes into JSONL and, times apart, Parquet: JSON written out, no stray characters."""
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
    """JSON with one spelling."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def clean(text: str) -> str:
    """Without what not every reader takes: NUL, halves of surrogate pairs."""
    return (
        text.replace("\0", "\ufffd")
        .encode("utf-16-le", "surrogatepass")
        .decode("utf-16-le", "replace")
    )


def write_tables(folder: Path, name: str, columns: Sequence[Column], rows: Sequence[Row]) -> None:
    """The three files of a table: the same rows in the same order."""
    cells = [[plain(column, row[column.name]) for column in columns] for row in rows]
    _write(folder / f"{name}.jsonl", _jsonl(columns, cells))
    _write(folder / f"{name}.csv", _csv(columns, cells))
    _write(folder / f"{name}.parquet", _parquet(columns, rows, cells))


def _jsonl(columns: Sequence[Column], cells: Sequence[list[Any]]) -> bytes:
    names = [column.name for column in columns]
    lines = (json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False) for row in cells)
    return "".join(f"{line}\n" for line in lines).encode()


def _csv(columns: Sequence[Column], cells: Sequence[list[Any]]) -> bytes:
    file = io.StringIO(newline="")
    # all quoted: readers differ in which characters end a row or a cell
    writer = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerow([column.name for column in columns])
    for row in cells:
        writer.writerow([_csv_cell(value) for value in row])
    return file.getvalue().encode()


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

    arrays = []
    for number, column in enumerate(columns):
        values = (
            [None if row[column.name] is None else milliseconds(row[column.name]) for row in rows]
            if column.kind == "time"
            else [row[number] for row in cells]
        )
        arrays.append(pa.array(values, type=_arrow(column)))
    fields = [pa.field(column.name, _arrow(column)) for column in columns]
    table = pa.Table.from_arrays(arrays, schema=pa.schema(fields))
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", version="2.6", row_group_size=20_000)
    return bytes(sink.getvalue())


def _arrow(column: Column) -> "pa.DataType":
    import pyarrow as pa

    match column.kind:
        case "whole":
            return pa.int64()
        case "number":
            return pa.float64()
        case "flag":
            return pa.bool_()
        case "time":
            return pa.timestamp("ms", tz="UTC")
        case _:
            return pa.string()


def write_text(path: Path, text: str) -> None:
    """A private file of an export that is being made."""
    _write(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """A private file of an export that is being made."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    _write(path, data)


def _write(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A private file to write; it takes the name `path` only when whole. Raises SetupError."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    with told(path):
        _sweep(path)
        try:
            yield part
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path, *, replace: bool) -> Iterator[Path]:
    """A private folder to fill; it takes the name `path` only when filled, in an older one's place
    if it may `replace` it.

    A kill leaves the old one, or the new one. Between the two renames there is neither for a moment;
    the next call, with any outcome, first puts the old one back. Raises SetupError.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    old = path.with_name(f".{path.name}.old")
    with told(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        restore(path)
        _sweep(path)
        part.mkdir(mode=0o700)
        try:
            yield part
            _sync(part)
            if path.exists() and any(path.iterdir()):
                if not replace:  # it came meanwhile
                    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
                path.replace(old)
            part.replace(path)
            _sync(path.parent)
            shutil.rmtree(old, ignore_errors=True)
        finally:
            shutil.rmtree(part, ignore_errors=True)


def restore(path: Path) -> None:
    """Put back what a kill between two renames left aside; let go of what was replaced."""
    old = path.with_name(f".{path.name}.old")
    if old.exists():
        if path.exists():
            shutil.rmtree(old, ignore_errors=True)
        else:
            old.replace(path)


def _sweep(path: Path) -> None:
    """Remove what killed runs have left aside."""
    for left in path.parent.glob(f".{path.name}.*.part"):
        if not _alive(left.name.removeprefix(f".{path.name}.").removesuffix(".part")):
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)


def _alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return True


def _sync(folder: Path) -> None:
    with contextlib.suppress(OSError):  # not every file system can
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def told(path: Path) -> Iterator[None]:
    """What the disk refuses becomes a SetupError that says what to do; nothing half stays."""
    try:
        yield
    except OSError as error:
        raise SetupError(
            f"{path} cannot be written ({error.strerror or error}); nothing was left there. Make room "
            "or name another place with --out, then run it again."
        ) from error
