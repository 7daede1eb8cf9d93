"""A picture within what Telegram shows as a photo: 10 MB, sides of 10,000 together, ratio below 20."""

import io

MAX_BYTES = 10_000_000
MAX_SIDES = 10_000
QUALITIES = (92, 80, 60)


def showable(data: bytes) -> bytes:
    """The file as it is if Telegram takes it, else a JPEG of it, smaller until it fits.

    The original stays to be had as a document.
    """
    if len(data) <= MAX_BYTES:
        return data
    from PIL import Image

    with Image.open(io.BytesIO(data)) as opened:
        image = opened.convert("RGB")
    if sum(image.size) > MAX_SIDES:
        image.thumbnail((MAX_SIDES // 2, MAX_SIDES // 2))
    while True:
        for quality in QUALITIES:
            made = io.BytesIO()
            image.save(made, "JPEG", quality=quality)
            if made.tell() <= MAX_BYTES:
                return made.getvalue()
        image = image.resize((max(1, image.width // 2), max(1, image.height // 2)))
