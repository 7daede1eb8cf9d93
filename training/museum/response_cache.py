"""The museum's JSON answers, kept on disk for as long as its terms allow.

An append-only journal names each answer's file, its ETag and when it came. A second run asks for
nothing; a refreshing one asks "has it changed?" (If-None-Match) and pays only for what has.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from requests import Response

from training.errors import SourceFault
from training.web.http_client import FIRST_RETRY, ForeignRedirect, Pace, PoliteClient
from training.web.journal import Journal

MUSEUM = "vam.ac.uk"

JSON_TRIES = 3
SILENT_IN_A_ROW = 3  # addresses that do not answer before the server counts as down


class MuseumClient(PoliteClient):
    """Fetch politely, ask whether something has changed, and forgive silence twice."""

    def __init__(self, pace: Pace, first_retry: float = FIRST_RETRY) -> None:
        super().__init__(pace, first_retry)
        self.silent: Counter[str] = Counter()  # by host, in a row

    def ask(self, address: str, etag: str = "") -> Response:
        """Give the answer whatever its status; 304 means that what has this ETag is still right.

        Raises NoAnswer for one address that stays silent; SourceFault when the server is down or
        asks for a long pause.
        """
        host = urlsplit(address).netloc
        try:
            answer = self.get(address, etag=etag)
        except Busy:
            raise
        except ForeignRedirect as fault:
            raise NoAnswer(str(fault)) from fault
        except SourceFault as fault:
            self.silent[host] += 1
            if self.silent[host] >= SILENT_IN_A_ROW:
                raise
            raise NoAnswer(str(fault)) from fault
        self.silent[host] = 0
        return answer

    def may_follow(self, address: str, to: str) -> bool:
        """Stay within the museum: what comes from elsewhere has not its rights."""
        one, other = urlsplit(address), urlsplit(to)
        within = all(
            part.hostname and part.hostname.endswith(f".{MUSEUM}") for part in (one, other)
        )
        return other.scheme in ("http", "https") and (within or one.hostname == other.hostname)

    def rest(self, address: str, headers: Mapping[str, str], tries: int, trouble: str) -> None:
        """Sleep as long as the server asks; a pause that is too long ends the run."""
        try:
            super().rest(address, headers, tries, trouble)
        except SourceFault as fault:
            raise Busy(str(fault)) from fault


class Answers:
    """Ask for JSON, and keep the bodies on disk."""

    def __init__(
        self,
        folder: Path,
        client: MuseumClient,
        refresh: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.journal, self.client = Journal(folder), client
        self.refresh, self.clock = refresh, clock
        self.asked = 0
        self.fresh: set[str] = set()

    def json(self, address: str) -> Any:
        """Give the parsed answer; raises Missing for 4xx, NoJson for what is none."""
        body = self.journal.held(address)
        if body is not None and (not self.refresh or address in self.fresh):
            return json.loads(body)
        self.fresh.add(address)
        etag = self.journal.entries[address]["etag"] if body is not None else ""
        for _ in range(JSON_TRIES):
            self.asked += 1
            answer = self.client.ask(address, etag)
            if answer.status_code == 304 and body is not None:
                return json.loads(body)
            if answer.status_code not in (200, 304):
                raise Missing(address, answer.status_code)
            try:
                value = answer.json()
            except ValueError:
                continue
            tag = answer.headers.get("ETag", "")
            self.journal.keep(address, answer.content, etag=tag, at=self.clock())
            return value
        raise NoJson(
            f"{address} gave no JSON {JSON_TRIES} times. Run the same command again later; it "
            "goes on from where it stopped."
        )


class Busy(SourceFault):
    """The server asks for a long pause: the run ends."""


class NoAnswer(SourceFault):
    """One address did not answer; the next may."""


class NoJson(SourceFault):
    """An answer is not what it should be."""


class Missing(SourceFault):
    """The museum answered with a status that asking again does not change."""

    def __init__(self, address: str, status: int) -> None:
        super().__init__(
            f"{address} answered {status}. Check [harvest] in the recipe: the museum refused "
            "this request."
        )
        self.status = status
