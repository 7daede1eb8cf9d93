"""The museum's JSON answers, kept on disk for as long as its terms allow.

An append-only journal names each answer's file, its ETag and when it came. A second run asks for
nothing; a refreshing one asks "has it changed?" (If-None-Match) and pays only for what has.
"""

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter

from training.errors import SourceFault
from training.web.http_client import ForeignRedirect, PoliteClient
from training.web.pace import FIRST_RETRY, Pace

MUSEUM = "vam.ac.uk"

JOURNAL = "journal.jsonl"
JSON_TRIES = 3
SILENT_IN_A_ROW = 3  # addresses that do not answer before the server counts as down


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedResponse:
    """One answer on disk; `at` is seconds since 1970."""

    address: str
    sha256: str
    etag: str
    at: float


class Conditional(HTTPAdapter):
    """Sends the ETag that is known for what is asked, by the hook requests has for headers."""

    tag = ""

    def add_headers(self, request: PreparedRequest, **_: Any) -> None:
        """Ask for news only."""
        if self.tag:
            request.headers["If-None-Match"] = self.tag


class MuseumClient(PoliteClient):
    """A polite client that can ask whether something has changed, and forgives silence twice."""

    def __init__(self, pace: Pace, first_retry: float = FIRST_RETRY) -> None:
        super().__init__(pace, first_retry)
        self.silent: Counter[str] = Counter()  # by host, in a row
        self.conditional = Conditional()
        for scheme in ("https://", "http://"):
            self.session.mount(scheme, self.conditional)

    def ask(self, address: str, etag: str = "") -> Response:
        """The answer whatever its status; 304 means that what has this ETag is still right.

        Raises NoAnswer for one address that stays silent; SourceFault when the server is down or
        asks for a long pause.
        """
        self.conditional.tag = etag
        host = urlsplit(address).netloc
        try:
            answer = self.get(address)
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
        """Only within the museum: what comes from elsewhere has not its rights."""
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
    """A folder of JSON bodies, each file named by its digest, and the journal beside them."""

    def __init__(
        self,
        folder: Path,
        client: MuseumClient,
        refresh: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.folder = folder
        self.client = client
        self.refresh = refresh
        self.clock = clock
        self.asked = 0
        self.fresh: set[str] = set()
        folder.mkdir(parents=True, exist_ok=True)
        self.kept = {row["address"]: CachedResponse(**row) for row in read_lines(folder / JOURNAL)}

    def json(self, address: str) -> Any:
        """The parsed answer; raises Missing for 4xx, NoJson for what is none."""
        kept = self.kept.get(address)
        body = self.body_of(kept)
        if kept and body is not None and (not self.refresh or address in self.fresh):
            return json.loads(body)
        self.fresh.add(address)
        for _ in range(JSON_TRIES):
            answer = self.ask(address, kept.etag if kept and body is not None else "")
            if answer.status_code == 304 and body is not None:
                return json.loads(body)
            try:
                value = answer.json()
            except ValueError:
                continue
            self.keep(address, answer)
            return value
        raise NoJson(
            f"{address} gave no JSON {JSON_TRIES} times. Run the same command again later; it "
            "goes on from where it stopped."
        )

    def ask(self, address: str, etag: str) -> Response:
        """One call; raises Missing where the museum says that there is no such thing."""
        self.asked += 1
        answer = self.client.ask(address, etag)
        if answer.status_code not in (200, 304):
            raise Missing(address, answer.status_code)
        return answer

    def keep(self, address: str, answer: Response) -> None:
        """Put an answer on disk, then into the journal."""
        digest = sha256(answer.content).hexdigest()
        write_bytes(self.folder / digest, answer.content)
        kept = CachedResponse(
            address=address, sha256=digest, etag=answer.headers.get("ETag", ""), at=self.clock()
        )
        add_line(self.folder / JOURNAL, asdict(kept))
        self.kept[address] = kept

    def body_of(self, kept: CachedResponse | None) -> bytes | None:
        """The body on disk, or None if it is missing or damaged."""
        path = self.folder / kept.sha256 if kept else None
        if kept is None or path is None or not path.exists():
            return None
        body = path.read_bytes()
        return body if sha256(body).hexdigest() == kept.sha256 else None


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


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON-lines file; a last line that a kill cut short is cut off."""
    if not path.exists():
        return []
    whole, _, rest = path.read_bytes().rpartition(b"\n")
    if rest:
        with path.open("r+b") as file:
            file.truncate(len(whole) + 1 if whole else 0)
    return [json.loads(line) for line in whole.decode("utf-8").split("\n") if line]


def add_line(path: Path, row: Mapping[str, Any]) -> None:
    """Add one object to a JSON-lines file, on disk before this returns."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row, ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())


def write_bytes(path: Path, body: bytes) -> None:
    """Replace a file as a whole; a failed write leaves no half behind."""
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        part.unlink(missing_ok=True)
        raise
    part.replace(path)
