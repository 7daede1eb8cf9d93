"""From a search to a data folder: search, read, choose, fetch, drop duplicates, write down."""

import errno
import re
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.progress import track

from engine.files import write_json
from engine.lock import owners_pid, take_lock
from training.errors import BadCorpus, TrainingError
from training.museum.api import Museum, MuseumClient
from training.museum.dataset import DROPPED, moment, write_lock
from training.museum.downloads import Facts, NoPicture, Pictures, file_name
from training.museum.duplicates import without_duplicates
from training.museum.harvest_recipe import HarvestRecipe
from training.museum.metadata_rows import METADATA, RIGHTS
from training.museum.records import Found, ImageMeta, facts_of, meta_of
from training.run.expiry import stamp
from training.run.json_lines import write_lines
from training.web.http_client import FIRST_RETRY

DATA = "data"
ANSWERS = "answers"
JOURNAL = "pictures.jsonl"
IN_USE = ".in-use.lock"
GOOD_ID = re.compile(r"^[A-Za-z0-9_-]{1,64}$")
Row = dict[str, Any]
OF_THE_FILE = ("image_id", "width", "height", "bytes", "sha256", "dhash", "colours")
ITEM = "https://collections.vam.ac.uk/item/{}/"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Harvester:
    def __init__(self, recipe: HarvestRecipe, run: Path) -> None:
        """Build the parts; raw answers lie in a folder that is deleted when due."""
        pace = recipe.harvest.seconds_between
        client = MuseumClient(pace, pace if recipe.harvest.local else FIRST_RETRY)
        due = stamp(run / ANSWERS, recipe.retention_days * 24, time.time())
        self.since = due - recipe.retention_days * 86400  # the oldest answer came then, or later
        self.recipe = recipe
        self.museum = Museum(recipe.harvest, run / ANSWERS, client)
        self.pictures = Pictures(run / DATA, run / JOURNAL, client)
        self.dropped: list[dict[str, str]] = []
        self.seen: set[str] = set()
        self.counts: dict[str, int] = {}  # hits by term
        self.rows: list[Row] = []
        self.root = ""

    def search(self) -> list[tuple[Found, tuple[str, ...]]]:
        """List every object once with the terms that found it, by number."""
        objects: dict[str, tuple[Found, list[str]]] = {}
        for term in self.recipe.harvest.terms:
            self.museum.require_robots(self.museum.search_address(term, 1))
            hits = list(track(self.museum.search(term), f"searching {term}", total=None))
            self.counts[term] = len(hits)
            for found in hits:
                terms = objects.setdefault(found.system_number, (found, []))[1]
                terms += [] if term in terms else [term]
        ordered = sorted(objects.values(), key=lambda entry: entry[0].number)
        chosen = ordered[: self.recipe.harvest.limit or None]
        return [(found, tuple(terms)) for found, terms in chosen]

    def drop(self, reason: str, number: str = "", image: str = "") -> None:
        self.dropped.append({"system_number": number, "image_id": image, "reason": reason})

    def fetch(self, found: Found, terms: tuple[str, ...]) -> Row:
        """Fetch a picture and write its line, which expire by the older of them. Raises NoPicture."""
        if not found.base:
            raise NoPicture("no image address")
        full, number = self.museum.full(found.system_number), found.system_number
        meta = meta_of(found, full)
        facts = self.take(found, meta)
        fetched = min(facts["at"], self.since)
        return {
            "file_name": file_name(found.image_id),
            "source_url": ITEM.format(number),
            "record_url": self.museum.object_address(number),
            "iiif_url": facts["address"],
            **facts_of(found, full, terms),
            "copyright": meta.copyright,
            **{key: facts[key] for key in OF_THE_FILE},
            "fetched_at": moment(fetched),
            "expires_at": moment(fetched + self.recipe.retention_days * 86400),
        }

    def take(self, found: Found, meta: ImageMeta) -> Facts:
        harvest, name = self.recipe.harvest, found.image_id
        if not self.museum.owns(found.base):
            raise NoPicture("an address outside the museum")
        if not GOOD_ID.match(name):
            raise NoPicture("an id that is no file name")
        if meta.sensitive:
            raise NoPicture("marked sensitive")
        if harvest.copyright.casefold() not in meta.copyright.casefold():
            raise NoPicture("another's copyright, or none stated")
        if name in self.seen:
            raise NoPicture("the same picture as another object's")
        self.seen.add(name)
        self.museum.require_robots(found.base)
        facts = self.pictures.take(name, self.museum.picture_address(found.base))
        if max(facts["width"], facts["height"]) < harvest.least_side:
            raise NoPicture("too small")
        return facts


def harvest(recipe: HarvestRecipe, run: Path) -> Harvester:
    """Fill the data folder; a second call fetches only what is missing."""
    with alone(run):
        # Beside the pictures, so that no other recipe can forget them.
        rights = recipe.rights.model_dump(mode="json")
        write_json(run / DATA / RIGHTS, rights | {"retention_days": recipe.retention_days})
        parts = Harvester(recipe, run)
        for found, terms in track(parts.search(), "fetching pictures"):
            try:
                parts.rows.append(parts.fetch(found, terms))
            except NoPicture as fault:
                parts.drop(str(fault), found.system_number, found.image_id)
        parts.rows, twins = without_duplicates(parts.rows)
        for row, kept in twins:
            parts.drop(f"nearly the same as {kept}", row["system_number"], row["image_id"])
        for note in parts.museum.unreadable:
            parts.drop(note)
        if not parts.rows:
            hits = ", ".join(f"{term}: {count}" for term, count in parts.counts.items())
            why = "; ".join(f"{reason}: {n}" for reason, n in reasons(parts.dropped).items())
            raise BadCorpus(
                f"No picture was taken. Hits: {hits}. Left out: {why or 'no hits'}. Widen [harvest] "
                "terms, or loosen high_resolution or copyright."
            )
        write_lines(run / DATA / METADATA, parts.rows)
        write_lines(run / DATA / DROPPED, parts.dropped)
        parts.root = write_lock(run / DATA, recipe, parts.rows, parts.counts, parts.museum.robots)
    return parts


def reasons(dropped: list[dict[str, str]]) -> dict[str, int]:
    """Count how often each reason was given; the twins' names are left off."""
    short = (re.sub(r"^(nearly the same) as .*", r"\1", row["reason"]) for row in dropped)
    return dict(Counter(short).most_common())


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Work in a folder that no other process works in, and say plainly that a disk is full."""
    try:
        lock = take_lock(folder, Path(), IN_USE)
        if lock is None:
            raise TrainingError(
                f"Another process ({owners_pid(folder, IN_USE)}) works in {folder}. Wait for it."
            )
        with lock:
            yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        free = shutil.disk_usage(folder).free / 1e6
        raise TrainingError(
            f"The disk is full ({free:.0f} MB free; a picture takes about 1 MB). What was fetched "
            "is whole and kept. Make room, or set [harvest] limit, and run the same command again."
        ) from error
