"""From a search to a data folder: search, read, choose, fetch, drop duplicates, write down."""

import errno
import re
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.progress import track

from engine.lock import owners_pid, take_lock
from training.errors import BadCorpus, TrainingError
from training.museum.api import Museum, Robots
from training.museum.dataset import DROPPED, moment, write_lock, write_rights
from training.museum.downloads import Facts, NoPicture, Pictures, file_name
from training.museum.duplicates import without_duplicates
from training.museum.harvest_recipe import HarvestRecipe
from training.museum.metadata_rows import METADATA
from training.museum.records import Found, View, facts_of, views_of
from training.museum.response_cache import Answers, MuseumClient
from training.run.expiry import stamp
from training.run.json_lines import write_lines
from training.web.http_client import FIRST_RETRY, Pace

DATA = "data"
ANSWERS = "answers"
JOURNAL = "pictures.jsonl"
IN_USE = ".in-use.lock"
GOOD_ID = re.compile(r"^[A-Za-z0-9_-]{1,64}$")
Row = dict[str, Any]
OF_THE_FILE = ("image_id", "width", "height", "bytes", "sha256", "dhash", "colours")
ITEM = "https://collections.vam.ac.uk/item/{}/"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    counts: dict[str, int]
    rows: list[dict[str, Any]]
    dropped: list[dict[str, str]]
    root: str
    calls: int
    pictures_fetched: int


@dataclass(slots=True)
class Harvester:
    recipe: HarvestRecipe
    museum: Museum
    pictures: Pictures
    robots: Robots
    since: float  # when the oldest of the answers came, at the earliest
    dropped: list[dict[str, str]] = field(default_factory=list)

    def search(self) -> tuple[dict[str, int], list[tuple[Found, tuple[str, ...]]]]:
        """Count hits by term, and list every object once with the terms that found it, by number."""
        counts: dict[str, int] = {}
        objects: dict[str, tuple[Found, list[str]]] = {}
        for term in self.recipe.harvest.terms:
            self.robots.require(self.museum.search_address(term, 1))
            counts[term] = self.museum.count(term)
            hits = self.museum.search(term)
            for found in track(hits, f"searching {term}", total=counts[term] or None):
                terms = objects.setdefault(found.system_number, (found, []))[1]
                terms += [] if term in terms else [term]
        ordered = sorted(objects.values(), key=lambda entry: entry[0].number)
        chosen = ordered[: self.recipe.harvest.limit or None]
        return counts, [(found, tuple(terms)) for found, terms in chosen]

    def drop(self, reason: str, number: str, image: str = "") -> None:
        self.dropped.append({"system_number": number, "image_id": image, "reason": reason})

    def fetch(self, found: Found, terms: tuple[str, ...], seen: set[str]) -> Iterator[Row]:
        if not found.base:
            self.drop("no image address", found.system_number)
            return
        full, images = self.museum.full(found.system_number)
        about, number = facts_of(found, full, terms), found.system_number
        for view in views_of(found, images, self.recipe.harvest.all_views):
            try:
                yield self.row(number, about, view, self.take(view, seen))
            except NoPicture as fault:
                self.drop(str(fault), number, view.image_id)

    def take(self, view: View, seen: set[str]) -> Facts:
        """Fetch a picture; raises NoPicture for one that the recipe does not take."""
        harvest = self.recipe.harvest
        if not self.museum.owns(view.base):
            raise NoPicture("an address outside the museum")
        if not GOOD_ID.match(view.image_id):
            raise NoPicture("an id that is no file name")
        if view.sensitive and not harvest.sensitive:
            raise NoPicture("marked sensitive")
        if harvest.copyright.casefold() not in view.copyright.casefold():
            raise NoPicture("another's copyright, or none stated")
        if view.image_id in seen:
            raise NoPicture("the same picture as another object's")
        seen.add(view.image_id)
        self.robots.require(view.base)
        facts = self.pictures.take(view.image_id, self.museum.picture_address(view))
        if max(facts["width"], facts["height"]) < harvest.least_side:
            raise NoPicture("too small")
        return facts

    def row(self, number: str, about: Row, view: View, facts: Facts) -> Row:
        """Write one line; text and picture expire together, with the older of the two."""
        fetched = min(facts["at"], self.since)
        return {
            "file_name": file_name(view.image_id),
            "source_url": ITEM.format(number),
            "record_url": self.museum.object_address(number),
            "iiif_url": facts["address"],
            **about,
            "copyright": view.copyright,
            **{key: facts[key] for key in OF_THE_FILE},
            "fetched_at": moment(fetched),
            "expires_at": moment(fetched + self.recipe.retention_days * 86400),
        }


def harvester_of(recipe: HarvestRecipe, run: Path, refresh: bool = False) -> Harvester:
    """Build the parts; raw answers lie in a folder that is deleted when due."""
    pace = recipe.harvest.seconds_between
    client = MuseumClient(Pace(pace), pace if recipe.harvest.local else FIRST_RETRY)
    due = stamp(run / ANSWERS, recipe.retention_days * 24, time.time())
    answers = Answers(run / ANSWERS, client, refresh)
    return Harvester(
        recipe,
        Museum(recipe.harvest, answers),
        Pictures(run / DATA, run / JOURNAL, client),
        Robots(client),
        due - recipe.retention_days * 86400,
    )


def harvest(recipe: HarvestRecipe, run: Path, refresh: bool = False) -> Outcome:
    """Fill the data folder; a second call fetches only what is missing."""
    with alone(run):
        write_rights(run / DATA, recipe)
        parts = harvester_of(recipe, run, refresh)
        counts, objects = parts.search()
        rows: list[dict[str, Any]] = []
        seen: set[str] = set()
        for found, terms in track(objects, "fetching pictures"):
            rows += parts.fetch(found, terms, seen)
        rows, twins = without_duplicates(rows, recipe.harvest.near_duplicate_bits)
        for row, kept in twins:
            parts.drop(f"nearly the same as {kept}", row["system_number"], row["image_id"])
        parts.dropped += [
            {"system_number": "", "image_id": "", "reason": note}
            for note in parts.museum.unreadable
        ]
        if not rows:
            raise BadCorpus(nothing(counts, parts.dropped))
        write_lines(run / DATA / METADATA, rows)
        write_lines(run / DATA / DROPPED, parts.dropped)
        root = write_lock(run / DATA, recipe, rows, counts, parts.robots.stamps)
    return Outcome(
        counts=counts,
        rows=rows,
        dropped=parts.dropped,
        root=root,
        calls=parts.museum.answers.asked,
        pictures_fetched=parts.pictures.fetched,
    )


def nothing(counts: dict[str, int], dropped: list[dict[str, str]]) -> str:
    """Say why a harvest is empty."""
    found = ", ".join(f"{term}: {count}" for term, count in counts.items())
    why = "; ".join(f"{reason}: {n}" for reason, n in reasons(dropped).items()) or "no hits"
    return (
        f"No picture was taken. Hits: {found}. Left out: {why}. Widen [harvest] terms, or loosen "
        "high_resolution or copyright."
    )


def reasons(dropped: list[dict[str, str]]) -> dict[str, int]:
    """Count how often each reason was given; the twins' names are left off."""
    short = (re.sub(r"^(nearly the same) as .*", r"\1", row["reason"]) for row in dropped)
    return dict(Counter(short).most_common())


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Work in a folder that no other process works in, and say plainly that a disk is full."""
    lock = None
    try:
        lock = take_lock(folder, Path(), IN_USE)
        if lock is None:
            raise TrainingError(
                f"Another process ({owners_pid(folder, IN_USE)}) works in {folder}. Wait for it."
            )
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        free = shutil.disk_usage(folder).free / 1e6
        raise TrainingError(
            f"The disk is full ({free:.0f} MB free; a picture takes about 1 MB). What was fetched "
            "is whole and kept. Make room, or set [harvest] limit, and run the same command again."
        ) from error
    finally:
        if lock is not None:
            lock.close()
