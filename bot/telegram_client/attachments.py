"""Pictures within what Telegram shows as a photo: 10 MB, sides of 10,000 together, at most 20 to 1."""

import io

MAX_BYTES = 10_000_000
MAX_SIDES = 10_000
MAX_RATIO = 20
QUALITIES = (92, 80, 60)


def showable(data: bytes) -> bytes:
    """Give the file as it is if Telegram takes it, else a JPEG of it, smaller until it fits; one that is
    too long stands on a black ground.

    The original can be had as a document.
    """
    from PIL import Image, ImageOps

    with Image.open(io.BytesIO(data)) as opened:
        long, short = max(opened.size), min(opened.size)
        fits = long + short <= MAX_SIDES and long <= MAX_RATIO * short
        if fits and len(data) <= MAX_BYTES:
            return data
        image = opened.convert("RGB")
    if sum(image.size) > MAX_SIDES:
        image.thumbnail((MAX_SIDES // 2, MAX_SIDES // 2))
    least = -(-max(image.size) // MAX_RATIO)
    image = ImageOps.pad(image, (max(image.width, least), max(image.height, least)))
    while True:
        for quality in QUALITIES:
            made = io.BytesIO()
            image.save(made, "JPEG", quality=quality)
            if made.tell() <= MAX_BYTES:
                return made.getvalue()
        image = image.resize((max(1, image.width // 2), max(1, image.height // 2)))
