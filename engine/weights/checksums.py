"""The digests of a base's files beside them, as sha256sum writes them, and what is no longer so.

They stand in a file of their own: what digest_of counts must stay as it is on record.
"""

from pathlib import Path

from engine.errors import ModelError
from engine.weights.weight_files import sha256_of

SUMS = "SHA256SUMS"


def write_sums(folder: Path) -> None:
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != SUMS)
    lines = [f"{sha256_of(path)}  {path.relative_to(folder).as_posix()}\n" for path in files]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")


def damaged(folder: Path) -> list[str]:
    """Name the files that are not what was noted; SHA256SUMS itself where nothing was.

    Raises ModelError for a file that cannot be read.
    """
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return [SUMS]
    wrong = []
    for digest, _, name in (line.partition("  ") for line in lines):
        path = folder / name
        try:
            if not path.is_file() or sha256_of(path) != digest:
                wrong.append(name)
        except OSError as error:
            raise ModelError(f"{path} cannot be read: {error}") from error
    return wrong
