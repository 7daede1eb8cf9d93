"""Picture files as they leave a worker: PNG with a statement of what made them, small previews."""

import io
import re
import zlib
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from engine.events import Picture
from engine.plan.job import Job

if TYPE_CHECKING:
    from PIL.Image import Image

# https://cv.iptc.org/newscodes/digitalsourcetype/
SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
XMP = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
 dc:identifier="{generation}" xmp:CreatorTool="Pastiche"
 Iptc4xmpExt:DigitalSourceType="{source}"/>
</rdf:RDF></x:xmpmeta>
<?xpacket end="w"?>"""
_NAMED = re.compile(rb'(?<=dc:identifier=")[^"]*')
PREVIEW_EDGE = 256  # pixels
PREVIEW_QUALITY = 70
PREVIEW_BYTES = 6000  # what one event may carry


def png_of(picture: "Image", generation: str) -> bytes:
    """Make a PNG that names its generation and IPTC's digital source type; no prompt and no person."""
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", XMP.format(generation=generation, source=SOURCE_TYPE))
    info.add_text("Software", "Pastiche")
    file = io.BytesIO()
    picture.save(file, "PNG", pnginfo=info)
    return file.getvalue()


def pictures_of(job: Job, drawn: "Iterable[Image]") -> tuple[Picture, ...]:
    return tuple(
        Picture(
            data=png_of(picture, f"{job.id}-{number + 1}"),
            width=picture.width,
            height=picture.height,
            seed=job.seed + number,
        )
        for number, picture in enumerate(drawn)
    )


def renamed(data: bytes, change: Callable[[str], str]) -> bytes:
    """Rename a PNG's generation; the picture itself stays to the byte."""
    parts, at = [data[:8]], 8
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + size]
        if kind == b"iTXt":
            body = _NAMED.sub(lambda found: change(found[0].decode()).encode(), body)
        crc = zlib.crc32(kind + body).to_bytes(4, "big")
        parts.append(len(body).to_bytes(4, "big") + kind + body + crc)
        at += size + 12
    return b"".join(parts)


def preview_of(picture: "Image") -> bytes:
    small = picture.convert("RGB")
    small.thumbnail((PREVIEW_EDGE, PREVIEW_EDGE))
    for quality in (PREVIEW_QUALITY, 50, 30):
        file = io.BytesIO()
        small.save(file, "JPEG", quality=quality)
        if file.tell() <= PREVIEW_BYTES:
            break
    return file.getvalue()
