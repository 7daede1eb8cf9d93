"""Fetch pictures whole: decoded before they count, journaled, never twice."""

import io
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

from PIL import Image
from requests import Response

from engine.files import write_file
from training.errors import SourceFault
from training.museum.duplicates import colours, dhash
from training.museum.metadata_rows import IMAGES
from training.museum.response_cache import MuseumClient, NoAnswer
from training.runs.json_lines import add_lines, read_lines

TRUNCATED_TRIES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Know one picture's file; `at` is seconds since 1970."""

    image_id: str
    address: str
    sha256: str
    bytes: int
    width: int
    height: int
    dhash: str
    colours: str
    etag: str
    at: float

    @property
    def file_name(self) -> str:
        return file_name(self.image_id)


class NoPicture(SourceFault):
    """This picture cannot be had; the next one may."""


class Pictures:
    def __init__(
        self,
        data: Path,
        journal: Path,
        client: MuseumClient,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.data = data
        self.journal = journal
        self.client = client
        self.clock = clock
        self.fetched = 0
        (data / IMAGES).mkdir(parents=True, exist_ok=True)
        self.facts = {row["image_id"]: Facts(**row) for row in read_lines(journal)}

    def take(self, image_id: str, address: str) -> Facts:
        """The picture's facts: from disk if it is here, else fetched.

        Raises NoPicture, or SourceFault when the server has gone silent.
        """
        path = self.data / file_name(image_id)
        known = self.facts.get(image_id)
        if known and path.exists() and path.stat().st_size == known.bytes:
            return known
        if path.exists() and known is None:  # a kill came between the file and its line
            return self.note(image_id, address, path.read_bytes(), "", path.stat().st_mtime)
        answer, body = self.whole(address)
        write_file(path, body)
        self.fetched += 1
        return self.note(image_id, address, body, answer.headers.get("ETag", ""), self.clock())

    def whole(self, address: str) -> tuple[Response, bytes]:
        """Fetch a picture that decodes to its last row; one that does not is fetched again."""
        for _ in range(TRUNCATED_TRIES):
            try:
                answer = self.client.ask(address)
            except NoAnswer as fault:
                raise NoPicture("did not answer") from fault
            if answer.status_code != 200:
                raise NoPicture(f"answered {answer.status_code}")
            if not decode(answer.content):
                continue
            return answer, answer.content
        raise NoPicture(f"no whole JPEG in {TRUNCATED_TRIES} tries")

    def note(self, image_id: str, address: str, body: bytes, etag: str, at: float) -> Facts:
        with Image.open(io.BytesIO(body)) as picture:
            facts = Facts(
                image_id=image_id,
                address=address,
                sha256=sha256(body).hexdigest(),
                bytes=len(body),
                width=picture.width,
                height=picture.height,
                dhash=dhash(picture),
                colours=colours(picture),
                etag=etag,
                at=at,
            )
        add_lines(self.journal, asdict(facts))
        self.facts[image_id] = facts
        return facts


def file_name(image_id: str) -> str:
    return f"{IMAGES}/{image_id}.jpg"


def decode(body: bytes) -> bool:
    try:
        with Image.open(io.BytesIO(body), formats=("JPEG",)) as picture:
            picture.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return False
    return True
