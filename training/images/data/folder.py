"""A folder of captioned pictures: its rows, its rights, what is held out.

`metadata.jsonl` names the pictures, one JSON object a line: `file_name` (or `file`), `text` (or
`caption`), and what else is known of each (`system_number`, `width`, `source_url`, ...). Captions in
`metadata_gpt4.jsonl` (`caption`, `caption_short`) come before those texts.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from training.errors import BadCorpus
from training.images.tables import Data
from training.museum.metadata_rows import CAPTIONS, METADATA, expiry_of, read_rows
from training.run.schedule import spread


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """Know one picture: where it lies, its size (height, width), its words, the object it shows."""

    path: Path
    name: str
    size: tuple[int, int]
    sha256: str
    captions: tuple[str, ...]  # in order of preference: the first that fits is taken
    group: str
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    train: tuple[Picture, ...]
    held_out: tuple[Picture, ...]
    dropped: dict[str, int]
    due: float | None  # seconds since 1970, after which nothing of it may be kept

    @property
    def digest(self) -> str:
        lines = [
            f"{part} {picture.name} {picture.sha256} {picture.captions}\n"
            for part, pictures in (("train", self.train), ("held out", self.held_out))
            for picture in pictures
        ]
        return "sha256:" + hashlib.sha256("".join(lines).encode()).hexdigest()


def read_folder(folder: Path, data: Data, seed: int, now: float) -> Pictures:
    """Read every picture of a folder; raises BadCorpus when too few can be used."""
    rows = rows_of(folder / METADATA)
    captions = captions_of(folder / CAPTIONS)
    dropped: dict[str, int] = {}
    found, expiries = [], []
    for row in rows:
        expires = expiry_of(row)
        if expires is not None and expires <= now:
            picture: Picture | str = "its time is over"
        else:
            picture = picture_of(folder, row, captions, data)
        if isinstance(picture, str):
            dropped[picture] = dropped.get(picture, 0) + 1
            continue
        found.append(picture)
        if expires is not None:
            expiries.append(expires)
    train, held_out = split(spread(found, data.limit or len(found)), data.held_out, seed)
    if not train:
        told = "; ".join(f"{count} left out: {why}" for why, count in dropped.items())
        raise BadCorpus(
            f"{folder} has no picture to train on ({told or 'its listing is empty'}). Harvest it "
            "again, or name another folder under [data] folder."
        )
    return Pictures(
        train=train, held_out=held_out, dropped=dropped, due=min(expiries, default=None)
    )


def rows_of(listing: Path) -> list[dict[str, Any]]:
    """Read a listing, one row a file name, in order; a line cut short is told, not read."""
    if not listing.is_file():
        raise BadCorpus(
            f"There is no {listing.name} in {listing.parent}. Run the harvest first, or write one: a "
            'JSON object a line, with "file_name" and "text".'
        )
    rows = {row["file_name"]: row for row in read_rows(listing)}
    return [rows[name] for name in sorted(rows)]


def captions_of(listing: Path) -> dict[str, tuple[str, ...]]:
    if not listing.is_file():
        return {}
    return {
        row["file_name"]: tuple(
            text
            for key in ("caption", "caption_short")
            if (text := str(row.get(key) or "").strip())
        )
        for row in rows_of(listing)
    }


def picture_of(
    folder: Path, row: dict[str, Any], captions: dict[str, tuple[str, ...]], data: Data
) -> Picture | str:
    name = row["file_name"]
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        return "its name leads out of the folder"
    if not path.is_file():
        return "the picture is missing"
    try:
        with Image.open(path) as opened:
            opened.verify()
        with Image.open(path) as opened:
            width, height = opened.size
            if opened.getexif().get(0x0112, 1) >= 5:  # it is shown turned
                width, height = height, width
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return "the picture is damaged"
    text = str(row.get("text") or row.get("caption") or row.get("title") or "").strip()
    if text:
        text = data.wording.replace("{caption}", text)
    texts = {
        "auto": captions.get(name) or (text,),
        "text": (text,),
        "instance": (),
    }[data.captions]
    return Picture(
        path=path,
        name=name,
        size=(height, width),
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        captions=tuple(filter(None, texts)) or (data.instance_prompt,),
        group=str(row.get(data.group_by) or name),
        facts=row,
    )


def split(
    pictures: Sequence[Picture], share: float, seed: int
) -> tuple[tuple[Picture, ...], tuple[Picture, ...]]:
    groups = sorted(
        {picture.group for picture in pictures},
        key=lambda group: hashlib.sha256(f"{seed}:{group}".encode()).hexdigest(),
    )
    count = max(1, round(share * len(groups))) if share and len(groups) > 1 else 0
    held = set(groups[:count])
    return (
        tuple(picture for picture in pictures if picture.group not in held),
        tuple(picture for picture in pictures if picture.group in held),
    )


def upright(opened: Image.Image) -> Image.Image:
    """Turn a picture as its EXIF says, RGB, with white behind what is see-through."""
    picture = ImageOps.exif_transpose(opened)
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        ground = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(ground, picture)
    return picture.convert("RGB")


def open_picture(path: Path) -> Image.Image:
    """Open upright, as RGB; what is see-through becomes white. Raises BadCorpus if damaged."""
    try:
        with Image.open(path) as opened:
            return upright(opened)
    except (OSError, ValueError, SyntaxError) as error:
        raise BadCorpus(
            f"{path.name} is damaged ({error}). Delete it and harvest it again, or take its line out "
            "of the listing."
        ) from error
