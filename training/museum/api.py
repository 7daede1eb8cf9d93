"""What the museum is asked: searches by term, full records, picture sizes, and robots.txt.

Parameters and addresses as documented at developers.vam.ac.uk/guide/v2 and iiif.io/api/image/2.1.
Answers stay on disk for as long as the museum's terms allow; a second run asks for nothing.
"""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit
from urllib.robotparser import RobotFileParser

from requests import Response

from training.errors import NotAllowed, SourceFault
from training.museum.harvest_recipe import Harvest
from training.museum.records import Found, Full, Unreadable, read_found, read_full
from training.web.http_client import Journal, NoAnswer, PoliteClient, Silent

AGENT = "pastiche"
MUSEUM = "vam.ac.uk"
SILENT_IN_A_ROW = 3  # addresses that do not answer before the server counts as down


class MuseumClient(PoliteClient):
    def __init__(self, seconds: float, first_retry: float) -> None:
        super().__init__(seconds, first_retry)
        self.silent = Counter[str]()  # by host, in a row

    def ask(self, address: str, etag: str = "", as_json: bool = False) -> Response:
        """Give the answer whatever its status; 304 means that what has this ETag is still right.

        Raises NoAnswer for one address; SourceFault when the server is down or asks for a long pause.
        """
        host = urlsplit(address).netloc
        try:
            answer = self.get(address, etag=etag, as_json=as_json)
        except Silent as fault:
            self.silent[host] += 1
            if self.silent[host] >= SILENT_IN_A_ROW:
                raise SourceFault(str(fault)) from fault
            raise
        self.silent[host] = 0
        return answer

    def may_follow(self, address: str, to: str) -> bool:
        """Stay within the museum: what comes from elsewhere has not its rights."""
        one, other = urlsplit(address).hostname or "", urlsplit(to).hostname or ""
        within = one.endswith(f".{MUSEUM}") and other.endswith(f".{MUSEUM}")
        return super().may_follow(address, to) and (within or one == other)


class Museum:
    def __init__(self, harvest: Harvest, folder: Path, client: MuseumClient) -> None:
        """Keep the answers in `folder`."""
        self.harvest, self.client = harvest, client
        self.answers = Journal(folder, self._fetched)
        self.asked = 0
        self.unreadable: list[str] = []
        self.rules: dict[str, RobotFileParser] = {}
        self.robots: dict[str, str] = {}  # what each host's robots.txt was

    def json(self, address: str) -> Any:
        """Give the parsed answer; raises NoAnswer where there is none."""
        return json.loads(self.answers.body(address))

    def _fetched(self, address: str) -> bytes:
        self.asked += 1
        answer = self.client.ask(address, as_json=True)
        if answer.status_code != 200:
            raise NoAnswer(
                f"{address} answered {answer.status_code}. Check [harvest] in the recipe: the "
                "museum refused this request."
            )
        return answer.content

    def search(self, term: str) -> Iterator[Found]:
        """Yield every record that a term finds; those that cannot be read are noted and left out."""
        page = pages = 1
        while page <= pages:
            answer = self.json(self.search_address(term, page))
            try:
                pages, rows = int(answer["info"]["pages"]), list(answer["records"])
            except (KeyError, TypeError, ValueError, OverflowError) as error:
                raise SourceFault(
                    f"The search for {term!r} gave an answer of another shape. The museum may "
                    "have changed its interface: see developers.vam.ac.uk/guide/v2."
                ) from error
            for row in rows:
                try:
                    yield read_found(row)
                except Unreadable as fault:
                    self.unreadable.append(f"{term}, page {page}: {fault}")
            page += 1

    def search_address(self, term: str, page: int) -> str:
        """Address one page; the order of the parameters is fixed, so that it is a key."""
        harvest = self.harvest
        query: list[tuple[str, Any]] = [("q", term)]
        query += [("id_category", category) for category in harvest.categories]
        query += [("images_exist", 1)]
        query += [("image_restrict", 2)] if harvest.high_resolution else []
        query += [("page_size", harvest.page_size), ("page", page)]
        return f"{harvest.address.rstrip('/')}/objects/search?{urlencode(query)}"

    def object_address(self, system_number: str) -> str:
        return f"{self.harvest.address.rstrip('/')}/museumobject/{system_number}"

    def full(self, system_number: str) -> Full:
        """Read an object's full record; nothing where the museum has none or it cannot be read."""
        try:
            return read_full(self.json(self.object_address(system_number)))
        except (NoAnswer, Unreadable) as fault:
            self.unreadable.append(f"{system_number}: {fault}")
            return Full()

    def picture_address(self, base: str) -> str:
        """Address a picture at its own size, or the recipe's where that is smaller."""
        base = base.rstrip("/")
        try:
            info = self.json(f"{base}/info.json")
            native = max(int(info["width"]), int(info["height"]))
        except (NoAnswer, KeyError, TypeError, ValueError, OverflowError):
            return f"{base}/full/full/0/default.jpg"  # the server's own greatest size
        side = min(self.harvest.longest_side, native)  # `!n,n` may upscale beyond the native size
        return f"{base}/full/!{side},{side}/0/default.jpg"

    def owns(self, address: str) -> bool:
        """Tell whether an address that an answer names is the museum's (or this rehearsal's)."""
        parts, own = urlsplit(address), urlsplit(self.harvest.address)
        host = parts.hostname or ""
        if self.harvest.local:
            return parts.scheme in ("http", "https") and host == own.hostname
        return parts.scheme == "https" and (host == MUSEUM or host.endswith(f".{MUSEUM}"))

    def require_robots(self, address: str) -> None:
        """Raise NotAllowed where a host's robots.txt forbids the address (RFC 9309)."""
        parts = urlsplit(address)
        site = f"{parts.scheme}://{parts.netloc}"
        if site not in self.rules:
            answer = self.client.ask(f"{site}/robots.txt")
            rules = self.rules[site] = RobotFileParser()
            found = answer.status_code == 200
            rules.parse(answer.text.removeprefix("\ufeff").splitlines() if found else [])
            self.robots[parts.netloc] = "read" if found else f"none ({answer.status_code})"
        if not self.rules[site].can_fetch(AGENT, address):
            raise NotAllowed(
                f"{site}/robots.txt does not let programs fetch {parts.path}. Ask the museum "
                "(github.com/vanda/etc-docs) before you go on."
            )
