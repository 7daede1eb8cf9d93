"""A museum on loopback: the V&A's search, records and pictures in their recorded shapes.

The objects are made up. Faults are put in by path: each is given once, then the true answer.
"""

import io
import json
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

from loopback import listening
from PIL import Image, ImageDraw

SAME = "© Victoria and Albert Museum, London"


@dataclass
class Fault:
    """What goes wrong once: a status, a body in place of the true one, a cut, a pause."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    cut: int | None = None  # bytes of the true body that are sent, as if they were all


@dataclass
class Piece:
    """One made-up museum object; a field set to None is missing from the search's record."""

    number: int
    title: str | None = "Tiara"
    object_type: str = "Tiara"
    summary: str = "Made-up words about a tiara of gold and pearls."
    image: str | None = ""
    terms: tuple[str, ...] = ("Coronet",)
    copyright: str | None = SAME
    sensitive: bool = False
    base: str | None = ""
    others: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """The system number."""
        return f"O{self.number}"

    @property
    def image_id(self) -> str:
        """The first picture's id."""
        return self.image or f"2006AA{self.number:04d}"


def drawing(seed: object, width: int = 320, height: int = 240) -> bytes:
    """A JPEG that differs from those of other seeds; deterministic."""
    draw_from = random.Random(str(seed))
    picture = Image.new("RGB", (width, height), (40, 40, 50))
    pen = ImageDraw.Draw(picture)
    for _ in range(12):
        x, y, side = (draw_from.random() for _ in range(3))
        box = (x * width, y * height, x * width + 20 + side * 120, y * height + 20 + side * 90)
        pen.ellipse(box, fill=tuple(draw_from.randrange(256) for _ in range(3)))
    return jpeg(picture)


def jpeg(picture: Image.Image, quality: int = 90) -> bytes:
    """The bytes of a picture."""
    body = io.BytesIO()
    picture.save(body, "JPEG", quality=quality)
    return body.getvalue()


@dataclass
class Museum:
    """The objects, their pictures, the faults to come, and what was asked."""

    pieces: list[Piece]
    pictures: dict[str, bytes] = field(default_factory=dict)
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    robots: str | None = None
    slow: float = 0.0  # seconds before each picture
    down_after: int | None = None  # pictures that are given before everything answers 500
    address: str = ""
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    @property
    def paths(self) -> list[str]:
        """The paths asked for, in order, without their queries."""
        return [urlsplit(target).path for target, _ in self.asked]

    @property
    def picture_paths(self) -> list[str]:
        """Those of pictures."""
        return [path for path in self.paths if path.endswith(".jpg")]

    def picture_path(self, number: int, side: int = 320) -> str:
        """Where the first picture of an object is."""
        piece = next(piece for piece in self.pieces if piece.number == number)
        return f"/collections/{piece.image_id}/full/!{side},{side}/0/default.jpg"

    def picture(self, image_id: str) -> bytes:
        """The bytes of a picture; drawn once."""
        return self.pictures.setdefault(image_id, drawing(image_id))

    def answer(self, target: str) -> tuple[int, bytes, str]:
        """Status, body and content type of the true answer."""
        parts = urlsplit(target)
        words = parts.path.strip("/").split("/")
        if parts.path == "/robots.txt":
            return (404, b"", "text/plain") if self.robots is None else (200, *text(self.robots))
        if parts.path == "/v2/objects/search":
            return 200, *as_json(self.search(parse_qs(parts.query)))
        if words[:2] == ["v2", "museumobject"]:
            found = [piece for piece in self.pieces if piece.id == words[2]]
            return (200, *as_json(self.full(found[0]))) if found else (404, *as_json({}))
        if words[0] == "collections" and words[-1] == "info.json":
            with Image.open(io.BytesIO(self.picture(words[1]))) as picture:
                return 200, *as_json({"width": picture.width, "height": picture.height})
        if words[0] == "collections":
            return 200, self.resized(words[1], words[3]), "image/jpeg"
        return 404, b"not here", "text/plain"

    def resized(self, image_id: str, size: str) -> bytes:
        """A picture fitted into `!w,h`; like some servers, this one upscales when asked to."""
        body = self.picture(image_id)
        if size == "full":
            return body
        side = int(size.lstrip("!").split(",")[0])
        with Image.open(io.BytesIO(body)) as picture:
            if max(picture.size) == side:
                return body
            ratio = side / max(picture.size)
            return jpeg(
                picture.resize((round(picture.width * ratio), round(picture.height * ratio)))
            )

    def search(self, query: dict[str, list[str]]) -> dict[str, Any]:
        """A page of a search, in the newer recorded shape."""
        hits = [piece for piece in self.pieces if query["q"][0] in piece.terms]
        size, page = int(query.get("page_size", ["15"])[0]), int(query["page"][0])
        shown = hits[(page - 1) * size : page * size]
        info = {
            "version": "2.0",
            "record_count": len(hits),
            "record_count_exact": True,
            "parameters": {},
            "page_size": size,
            "pages": -(-len(hits) // size),
            "page": page,
            "image_count": len(hits),
        }
        return {"info": info, "records": [self.record(p) for p in shown], "clusters": {}}

    def base_of(self, image_id: str) -> str:
        """A picture's IIIF base address."""
        return f"{self.address}/collections/{image_id}/"

    def record(self, piece: Piece) -> dict[str, Any]:
        """One row of a search."""
        row: dict[str, Any] = {
            "systemNumber": piece.id,
            "accessionNumber": f"M.{piece.number}-1931",
            "objectType": piece.object_type,
            "_primaryTitle": piece.title,
            "_primaryMaker": {"name": "Unknown", "association": ""},
            "_primaryImageId": piece.image_id if piece.base is not None else None,
            "_primaryDate": "ca. 1830",
            "_primaryPlace": "London",
            "_warningTypes": [],
            "_imagesMeta": [
                {
                    "assetRef": piece.image_id,
                    "copyright": piece.copyright,
                    "sensitiveImage": piece.sensitive,
                }
            ],
            "_images": {"_iiif_image_base_url": piece.base or self.base_of(piece.image_id)},
        }
        if piece.base is None:
            row["_images"] = {"_iiif_image_base_url": None}
        if piece.copyright is None:
            row.pop("_imagesMeta")
        return row

    def full(self, piece: Piece) -> dict[str, Any]:
        """An object's full record."""
        images = {
            "_iiif_image": self.base_of(piece.image_id),
            "_alt_iiif_image": [self.base_of(name) for name in piece.others],
            "_images_meta": [
                {"assetRef": name, "copyright": piece.copyright, "sensitiveImage": False}
                for name in (piece.image_id, *piece.others)
            ],
        }
        record = {
            "systemNumber": piece.id,
            "objectType": piece.object_type,
            "titles": [],
            "summaryDescription": f"<i>{piece.summary}</i>" if piece.summary else "",
            "briefDescription": "",
            "physicalDescription": "",
            "artistMakerPerson": [],
            "materials": [{"text": "gold", "id": "AAT11021"}, {"text": "pearl", "id": ""}],
            "techniques": [{"text": "filigree", "id": ""}],
            "materialsAndTechniques": "Gold, pearls",
            "styles": [{"text": "Neoclassical", "id": ""}],
            "creditLine": "Given by a made-up person",
            "placesOfOrigin": None,
            "productionDates": [{"date": {"text": "ca. 1830"}}],
            "recordModificationDate": "2025-04-30",
        }
        return {"meta": {"version": "2.0", "images": images}, "record": record}


def as_json(value: Any) -> tuple[bytes, str]:
    """A body and its content type."""
    return json.dumps(value).encode(), "application/json"


def text(value: str) -> tuple[bytes, str]:
    """A body and its content type."""
    return value.encode(), "text/plain"


@contextmanager
def museum_of(*pieces: Piece, **changes: Any) -> Iterator[Museum]:
    """Run a museum on loopback for as long as the block lasts."""
    museum = Museum(list(pieces), **changes)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            museum.asked.append((self.path, dict(self.headers)))
            path = urlsplit(self.path).path
            script = museum.faults.get(path)
            fault = script.pop(0) if script else Fault()
            if museum.down_after is not None and len(museum.picture_paths) > museum.down_after:
                fault = Fault(500)
            status, body, kind = museum.answer(self.path)
            if path.endswith(".jpg"):
                time.sleep(museum.slow)
            tag = f'"{sha256(body).hexdigest()[:16]}"'
            if fault.body is not None:
                body = fault.body
            if fault.cut is not None:
                body = body[: fault.cut]
            if fault.status != 200:
                status, body = fault.status, b"busy"
            elif self.headers.get("If-None-Match") == tag:
                status, body = 304, b""
            self.send_response(status)
            for name, value in fault.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Type", kind)
            self.send_header("ETag", tag)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            self.close_connection = True

        def log_message(self, *words: object) -> None:
            """Nothing: tests are quiet."""

    with listening(Handler) as museum.address:
        yield museum
