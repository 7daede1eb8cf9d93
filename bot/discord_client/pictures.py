"""Finished pictures as files that fit; too large ones are sent smaller, the original stays on record."""

import io
from collections.abc import Sequence

from engine.events import Picture

QUALITIES = (92, 85, 75, 60, 45, 30)
MAX_FILES = 10  # of a message

File = tuple[str, bytes]


def files_of(job: str, pictures: Sequence[Picture], limit: int) -> tuple[File, ...]:
    """PNG files, each as JPEG instead if it is larger than `limit` bytes.

    A picture that is too large at any quality is left out. May take a second: not for the event loop.
    """
    found = [
        _file(f"{job[-6:].lower()}-{n}-seed-{picture.seed}", picture.data, limit)
        for n, picture in enumerate(pictures[:MAX_FILES], 1)
    ]
    return tuple(file for file in found if file is not None)


def _file(name: str, data: bytes, limit: int) -> File | None:
    if len(data) <= limit:
        return f"{name}.png", data
    small = smaller(data, limit)
    return (f"{name}.jpg", small) if small is not None else None


def smaller(picture: bytes, limit: int) -> bytes | None:
    """The picture as a JPEG of at most `limit` bytes, as good as fits; None if none does."""
    from PIL import Image

    with Image.open(io.BytesIO(picture)) as opened:
        image = opened.convert("RGB")
    while min(image.size) >= 32:
        for quality in QUALITIES:
            made = io.BytesIO()
            image.save(made, "JPEG", quality=quality)
            if made.tell() <= limit:
                return made.getvalue()
        image = image.resize((image.width // 2, image.height // 2))
    return None
