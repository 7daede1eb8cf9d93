"""Fetch pictures whole: decoded before they count, journaled, never twice."""

import io
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

from PIL import Image
from requests import Response

from engine.files import write_file
from training.errors import SourceFault
from training.museum.api import MuseumClient
from training.museum.duplicates import colours, dhash
from training.museum.metadata_rows import IMAGES
from training.run.json_lines import add_lines, read_lines
from training.web.http_client import NoAnswer

TRUNCATED_TRIES = 3
MOST_PIXELS = 40_000_000  # a small file may decode to half a gigabyte
Facts = dict[str, Any]  # a line of the journal; `at` is seconds since 1970


class NoPicture(SourceFault):
    """This picture cannot be had; the next one may."""


class Pictures:
    def __init__(self, data: Path, journal: Path, client: MuseumClient) -> None:
        self.data, self.journal, self.client = data, journal, client
        self.fetched = 0
        self.facts = {row["image_id"]: row for row in read_lines(journal)}

    def take(self, image_id: str, address: str) -> Facts:
        """Give the facts of a picture, fetched if it is not here. Raises NoPicture or SourceFault."""
        path = self.data / file_name(image_id)
        known = self.facts.get(image_id)
        whole = path.exists() and (known is None or path.stat().st_size == known["bytes"])
        if whole and known and known["address"] == address:  # which says its size, too
            return known
        if whole and known is None:  # a kill came between the file and its line
            return self.note(image_id, address, path.read_bytes(), "", path.stat().st_mtime)
        answer = self.whole(address)
        write_file(path, answer.content)
        self.fetched += 1
        etag = answer.headers.get("ETag", "")
        return self.note(image_id, address, answer.content, etag, time.time())

    def whole(self, address: str) -> Response:
        """Fetch a picture that decodes to its last row; one that does not is fetched again."""
        for _ in range(TRUNCATED_TRIES):
            try:
                answer = self.client.ask(address)
            except NoAnswer as fault:
                raise NoPicture("did not answer") from fault
            if answer.status_code != 200:
                raise NoPicture(f"answered {answer.status_code}")
            if decode(answer.content):
                return answer
        raise NoPicture(f"no whole JPEG in {TRUNCATED_TRIES} tries")

    def note(self, image_id: str, address: str, body: bytes, etag: str, at: float) -> Facts:
        with Image.open(io.BytesIO(body)) as picture:
            facts = {
                "image_id": image_id,
                "address": address,
                "sha256": sha256(body).hexdigest(),
                "bytes": len(body),
                "width": picture.width,
                "height": picture.height,
                "dhash": dhash(picture),
                "colours": colours(picture),
                "etag": etag,
                "at": at,
            }
        add_lines(self.journal, facts)
        self.facts[image_id] = facts
        return facts


def file_name(image_id: str) -> str:
    return f"{IMAGES}/{image_id}.jpg"


def decode(body: bytes) -> bool:
    try:
        with Image.open(io.BytesIO(body), formats=("JPEG",)) as picture:
            if picture.width * picture.height > MOST_PIXELS:
                return False
            picture.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return False
    return True
