"""Fetch over HTTP politely, at a pace and with patience, and nothing twice."""

import os
import random
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
from requests.exceptions import ChunkedEncodingError, ContentDecodingError

from engine.files import write_file
from training.errors import SourceFault
from training.run.json_lines import add_lines, read_lines

FIRST_RETRY = 1.0  # seconds; doubles with each try
LONGEST_RETRY = 60.0  # seconds
EPOCH_LIKE = 1e9  # a reset header above this is a time of day, not a number of seconds
RESET_HEADERS = ("retry-after", "ratelimit-reset")
TRIES = 5
TIMEOUT = 30.0  # seconds
AGAIN = frozenset({408, 429, 500, 502, 503, 504, 509})
MOST_BYTES = 64 << 20  # of one answer, unpacked
REDIRECTS = 5
JOURNAL = "journal.jsonl"
NO_JSON = "no JSON"
LONGEST_WAIT = 900.0  # seconds; a server that asks for more is told about, not waited for


class NoAnswer(SourceFault):
    """This address cannot be had; another may."""


class Silent(NoAnswer):
    """This address did not answer in all its tries."""


def retry_delay(headers: Mapping[str, str], tries: int, first: float, now: float) -> float:
    """Count the seconds before the next try: doubling, or longer where the server says so.

    >>> retry_delay({"ratelimit-reset": "7"}, 1, first=1.0, now=0.0)
    7.0
    >>> retry_delay({"retry-after": "Thu, 01 Jan 2026 00:00:30 GMT"}, 1, 1.0, now=1767225600)
    30.0
    >>> retry_delay({"retry-after": "0"}, 1, first=1.0, now=0.0) >= 1.0
    True
    >>> 1.0 <= retry_delay({"retry-after": "soon"}, 1, first=1.0, now=0.0) <= 1.25
    True
    """
    own = min(LONGEST_RETRY, float(first * 2 ** (tries - 1))) * random.uniform(1.0, 1.25)
    for name in RESET_HEADERS:
        said = headers.get(name, "")
        with suppress(ValueError):
            date = said.endswith("GMT")  # the other form that HTTP knows
            until = parsedate_to_datetime(said).timestamp() if date else float(said)
            return max(own, until - now if until > EPOCH_LIKE else until)
    return own


def release() -> str:
    try:
        return version("pastiche")
    except PackageNotFoundError:
        return "0"


class PoliteClient:
    """Begin a call at most once in `seconds`; `first_retry` is the first pause after a fault."""

    def __init__(
        self,
        seconds: float,
        first_retry: float = FIRST_RETRY,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.seconds, self.first_retry = seconds, first_retry
        self.clock, self.sleep = clock, sleep
        self.last = float("-inf")
        self.session = requests.Session()
        # The operator's PASTICHE_CONTACT is where to complain; a header is one line of ASCII.
        given = os.environ.get("PASTICHE_CONTACT", "").encode("ascii", "ignore").decode()
        contact = f"; contact: {' '.join(given.split())}" if given.strip() else ""
        self.session.headers["User-Agent"] = (
            f"pastiche/{release()} (+see the README of the operator's copy{contact})"
        )

    def get(
        self,
        address: str,
        query: Mapping[str, str] | None = None,
        etag: str = "",
        as_json: bool = False,
    ) -> requests.Response:
        """Fetch an answer whole, whatever its status; 304 says that what has the `etag` is still right.

        Tried again: busy and broken servers, lost connections, bodies cut short, or no JSON where it
        should be some. Raises NoAnswer, or SourceFault where the server asks for a long pause.
        """
        for tries in range(1, TRIES + 1):
            if (remaining := self.last + self.seconds - self.clock()) > 0:
                self.sleep(remaining)
            self.last = self.clock()
            answer, trouble = self._tried(address, query, etag, as_json)
            if answer is not None and not trouble:
                return answer
            headers: Mapping[str, str] = {} if answer is None else answer.headers
            delay = retry_delay(headers, tries, self.first_retry, time.time())
            if delay > LONGEST_WAIT:
                raise SourceFault(
                    f"{address} answered {trouble} and asks to wait {delay / 60:.0f} minutes. Run "
                    "the same command again then; it goes on from where it stopped."
                )
            if tries < TRIES:
                self.sleep(delay)
        fault = NoAnswer if trouble == NO_JSON else Silent
        raise fault(
            f"{address} did not answer after {TRIES} tries ({trouble}). What was fetched is kept: "
            "run the same command again later and it goes on from there."
        )

    def _tried(
        self, address: str, query: Mapping[str, str] | None, etag: str, as_json: bool
    ) -> tuple[requests.Response | None, str]:
        """Give the answer, if one came, and what is wrong with it, if anything."""
        try:
            answer = self._fetched(address, query, etag)
        except (requests.ConnectionError, requests.Timeout) as error:
            return None, type(error).__name__
        except (ChunkedEncodingError, ContentDecodingError):
            return None, "an answer cut short"
        except (requests.RequestException, ValueError) as error:  # an address that is none
            raise NoAnswer(f"{address} cannot be fetched ({type(error).__name__}).") from error
        if as_json and answer.status_code == 200 and not is_json(answer):
            return answer, NO_JSON
        return answer, f"status {answer.status_code}" if answer.status_code in AGAIN else ""

    def may_follow(self, address: str, to: str) -> bool:  # noqa: ARG002 - a museum looks at it
        """Tell whether a redirect from one address to another is followed."""
        return urlsplit(to).scheme in ("http", "https")

    def _fetched(
        self, address: str, query: Mapping[str, str] | None, etag: str
    ) -> requests.Response:
        """Read one answer whole within MOST_BYTES, its redirects checked one by one."""
        headers = {"If-None-Match": etag} if etag else {}
        options: Any = {"timeout": TIMEOUT, "allow_redirects": False, "stream": True}
        for _ in range(REDIRECTS):
            with self.session.get(address, params=query, headers=headers, **options) as answer:
                if not answer.is_redirect:
                    answer._content = _body(answer)
                    return answer
            to, query = urljoin(answer.url, answer.headers["location"]), None
            if not self.may_follow(address, to):
                raise NoAnswer(f"{address} leads elsewhere, to {to[:80]}.")
            address = to
        raise NoAnswer(f"{address} leads on and on.")

    def body(self, address: str) -> bytes:
        answer = self.get(address)
        if answer.status_code != 200:
            raise SourceFault(
                f"{address} answered {answer.status_code}. Check the address in the recipe, or "
                "give the texts yourself with --corpus DIR."
            )
        if not answer.content:
            raise SourceFault(f"{address} is empty. Try again later, or use --corpus DIR.")
        return answer.content


def is_json(answer: requests.Response) -> bool:
    try:
        answer.json()
    except ValueError:
        return False
    return True


def _body(answer: requests.Response) -> bytes:
    """Read the body; a small one may unpack to a great one."""
    body = bytearray()
    for part in answer.iter_content(1 << 16):
        body += part
        if len(body) > MOST_BYTES:
            raise NoAnswer(f"{answer.url} is larger than {MOST_BYTES >> 20} MiB.")
    return bytes(body)


class Journal:
    """Keep a folder of fetched bodies, each file named by its digest, and a journal beside them."""

    def __init__(self, folder: Path, fetch: Callable[[str], bytes]) -> None:
        self.folder, self.fetch = folder, fetch
        folder.mkdir(parents=True, exist_ok=True)
        rows = read_lines(folder / JOURNAL)
        self.digests: dict[str, str] = {row["address"]: row["sha256"] for row in rows}

    def body(self, address: str) -> bytes:
        """Read the body of an address, fetched where it is not here or is damaged."""
        held = self.copy(address)
        if held.is_file() and sha256(body := held.read_bytes()).hexdigest() == held.name:
            return body
        body = self.fetch(address)
        digest = sha256(body).hexdigest()
        write_file(self.folder / digest, body)
        self.digests[address] = digest
        add_lines(self.folder / JOURNAL, {"address": address, "sha256": digest})
        return body

    def copy(self, address: str) -> Path:
        return self.folder / self.digests.get(address, "")
