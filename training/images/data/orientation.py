"""A picture as training and captioning both see it."""

from PIL import Image, ImageOps


def upright(opened: Image.Image) -> Image.Image:
    """Turn a picture as its EXIF says, RGB, with white behind what is see-through."""
    picture = ImageOps.exif_transpose(opened)
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        ground = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(ground, picture)
    return picture.convert("RGB")
