"""An adapter's files, copied into an expert's folder: within bounds, and no link out is followed."""

import shutil
from pathlib import Path

from engine.errors import LimitError
from engine.weights.weight_files import DIGESTED

MOST_FILES = 64
MOST_BYTES = 8 << 30


def files_of(source: Path) -> list[Path]:
    """What is read of an adapter: the file itself, or a folder's weights, settings and tokenizer.

    Raises LimitError for a link to somewhere else, for too many files and for too much.
    """
    if source.is_file():
        files = [source]
    else:
        files = [p for p in sorted(source.iterdir()) if p.suffix in DIGESTED and p.is_file()]
        files = [p for p in files if not p.name.startswith(".")]
        inside = source.resolve()
        if inside.parent.name == "snapshots":  # the hub's cache: its files are links to its blobs
            inside = inside.parents[1]
        for path in files:
            if not path.resolve().is_relative_to(inside):
                raise LimitError(
                    f"{path} is a link to a file elsewhere, which is not followed. Put the file itself "
                    "into the folder."
                )
    total = sum(path.stat().st_size for path in files)
    if len(files) > MOST_FILES or total > MOST_BYTES:
        raise LimitError(
            f"{source} holds {len(files)} files of {total >> 20} MiB; an adapter has at most "
            f"{MOST_FILES} of {MOST_BYTES >> 20} MiB in all. Put it into a folder of its own."
        )
    return files


def copy_adapter(source: Path, target: Path) -> None:
    files = files_of(source)
    target.mkdir()
    for path in files:
        shutil.copyfile(path, target / path.name)
