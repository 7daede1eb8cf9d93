"""A folder of captioned pictures: its rows, its rights, what is held out.

`metadata.jsonl` names them, a JSON object a line; without it every picture counts. A `.txt` file beside
a picture comes before the listing's text, captions in `metadata_gpt4.jsonl` before both.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from training.errors import BadCorpus
from training.images.tables import Data
from training.museum.metadata_rows import CAPTIONS, METADATA, expiry_of, read_rows
from training.run.json_lines import read_words
from training.run.schedule import spread

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")
# What Pillow raises for a file that is no whole picture, or one of too many pixels.
UNREADABLE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)


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
    rows, dropped = rows_of(folder), Counter[str]()
    if not (folder / METADATA).is_file():
        own = {(folder / row["file_name"]).with_suffix(".txt") for row in rows}
        there = set(folder.rglob("*.txt"))
        if own & there and there - own:
            dropped["a caption without its picture"] = len(there - own)
    captions = captions_of(folder / CAPTIONS)
    found, expiries = [], []
    for row in rows:
        expires = expiry_of(row)
        if expires is not None and expires <= now:
            picture: Picture | str = "its time is over"
        else:
            picture = picture_of(folder, row, captions, data)
        if isinstance(picture, str):
            dropped[picture] += 1
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
        train=train, held_out=held_out, dropped=dict(dropped), due=min(expiries, default=None)
    )


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """List a folder's pictures, one row a file name, in order: by its listing, else all there are."""
    if (folder / METADATA).is_file():
        rows = {row["file_name"]: row for row in read_rows(folder / METADATA)}
        return [rows[name] for name in sorted(rows)]
    names = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.suffix.lower() in PICTURES and not path.name.startswith(".")
    )
    if not names:
        raise BadCorpus(
            f"There is no {METADATA} and no picture in {folder}. Run the harvest first, or put "
            "pictures there, their captions as .txt files beside them or in that listing: a JSON "
            'object a line, with "file_name" and "text".'
        )
    return [{"file_name": name} for name in names]


def captions_of(listing: Path) -> dict[str, tuple[str, ...]]:
    keys = ("caption", "caption_short")
    return {
        row["file_name"]: tuple(filter(None, (str(row.get(key) or "").strip() for key in keys)))
        for row in (read_rows(listing) if listing.is_file() else ())
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
        beside = path.with_suffix(".txt")
        text = " ".join(read_words(beside).split()) if beside.is_file() else ""
    except Image.DecompressionBombError:
        return "the picture has too many pixels"
    except UNREADABLE:
        return "the picture is damaged"
    except BadCorpus:
        return "its caption is not UTF-8"
    written = captions.get(name) or ()
    text = text or listed(row, data)
    texts = {"auto": written or (text,), "gpt": written, "text": (text,), "instance": ()}
    return Picture(
        path=path,
        name=name,
        size=(height, width),
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        captions=tuple(filter(None, texts[data.captions])) or (data.instance_prompt,),
        group=str(row.get(data.group_by) or name),
        facts=row,
    )


def listed(row: dict[str, Any], data: Data) -> str:
    text = str(row.get("text") or row.get("caption") or row.get("title") or "").strip()
    return data.wording.replace("{caption}", text) if text else ""


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
    """Turn a picture as its EXIF says, RGB in 8 bits, with white behind what is see-through."""
    picture = ImageOps.exif_transpose(opened)
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        picture = eight_bits(picture)
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        ground = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(ground, picture)
    return picture.convert("RGB")


def eight_bits(picture: Image.Image) -> Image.Image:
    """Scale deeper grey down; white is the first of 1, 255 and 65535 that no shade is above."""
    import numpy as np

    shades = np.nan_to_num(np.asarray(picture, dtype=float))
    most = 65535.0 if picture.mode.startswith("I;16") else float(shades.max())
    white = next(level for level in (1.0, 255.0, 65535.0, most) if most <= level)
    return Image.fromarray((shades.clip(0) * (255.0 / white)).round().astype(np.uint8))


def open_picture(path: Path) -> Image.Image:
    """Open upright, as RGB; what is see-through becomes white. Raises BadCorpus if damaged."""
    try:
        with Image.open(path) as opened:
            return upright(opened)
    except UNREADABLE as error:
        raise BadCorpus(
            f"{path.name} cannot be read ({error}). Delete it and harvest it again, or take its line "
            "out of the listing."
        ) from error
