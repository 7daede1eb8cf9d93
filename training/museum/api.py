"""What the museum is asked: searches by term, full records, picture sizes, and robots.txt.

Parameters and addresses as documented at developers.vam.ac.uk/guide/v2 and iiif.io/api/image/2.1.
"""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode, urlsplit
from urllib.robotparser import RobotFileParser

from training.errors import NotAllowed, SourceFault
from training.museum.harvest_recipe import Harvest
from training.museum.records import Found, Full, FullImages, Unreadable, View, read_found, read_full
from training.museum.response_cache import MUSEUM, Answers, Missing, MuseumClient, NoAnswer, NoJson

AGENT = "pastiche"


class Museum:
    def __init__(self, harvest: Harvest, answers: Answers) -> None:
        self.harvest = harvest
        self.answers = answers
        self.unreadable: list[str] = []

    def search(self, term: str) -> Iterator[Found]:
        """Yield every record that a term finds; those that cannot be read are noted and left out."""
        page = pages = 1
        while page <= pages:
            answer = self.answers.json(self.search_address(term, page))
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

    def count(self, term: str) -> int:
        """Count the records that a term finds, from its first page."""
        answer = self.answers.json(self.search_address(term, 1))
        try:
            return int(answer["info"]["record_count"])
        except (KeyError, TypeError, ValueError, OverflowError):
            return 0  # it is only told; the pages are read all the same

    def search_address(self, term: str, page: int) -> str:
        """Address one page; the order of the parameters is fixed, so that it is a key."""
        harvest = self.harvest
        query: list[tuple[str, Any]] = [("q", term)]
        query += [("id_category", category) for category in harvest.categories]
        query += [("images_exist", 1)]
        query += [("image_restrict", 2)] if harvest.high_resolution else []
        query += [("year_made_to", harvest.made_to)] if harvest.made_to is not None else []
        query += [("page_size", harvest.page_size), ("page", page)]
        return f"{harvest.address.rstrip('/')}/objects/search?{urlencode(query)}"

    def object_address(self, system_number: str) -> str:
        return f"{self.harvest.address.rstrip('/')}/museumobject/{system_number}"

    def full(self, system_number: str) -> tuple[Full, FullImages]:
        """Read an object's full record; nothing where the museum has none or it cannot be read."""
        try:
            if self.harvest.full_records:
                return read_full(self.answers.json(self.object_address(system_number)))
        except Missing as fault:
            self.unreadable.append(f"{system_number}: no full record ({fault.status})")
        except (NoAnswer, NoJson, Unreadable) as fault:
            self.unreadable.append(f"{system_number}: {fault}")
        return Full(), FullImages()

    def picture_address(self, view: View) -> str:
        """Address a picture at its own size, or the recipe's where that is smaller."""
        try:
            info = self.answers.json(view.base + "info.json")
            native = max(int(info["width"]), int(info["height"]))
        except (Missing, NoAnswer, NoJson, KeyError, TypeError, ValueError, OverflowError):
            return f"{view.base}full/full/0/default.jpg"  # the server's own greatest size
        side = min(self.harvest.longest_side, native)  # `!n,n` may upscale beyond the native size
        return f"{view.base}full/!{side},{side}/0/default.jpg"

    def owns(self, address: str) -> bool:
        """Tell whether an address that an answer names is the museum's (or this rehearsal's)."""
        parts, own = urlsplit(address), urlsplit(self.harvest.address)
        host = parts.hostname or ""
        if self.harvest.local:
            return parts.scheme in ("http", "https") and host == own.hostname
        return parts.scheme == "https" and (host == MUSEUM or host.endswith(f".{MUSEUM}"))


class Robots:
    def __init__(self, client: MuseumClient) -> None:
        self.client = client
        self.rules: dict[str, RobotFileParser] = {}
        self.stamps: dict[str, str] = {}

    def require(self, address: str) -> None:
        """Raise NotAllowed where a host's robots.txt forbids the address (RFC 9309)."""
        parts = urlsplit(address)
        site = f"{parts.scheme}://{parts.netloc}"
        if site not in self.rules:
            answer = self.client.ask(f"{site}/robots.txt")
            rules = RobotFileParser()
            found = answer.status_code == 200
            rules.parse(answer.text.removeprefix("\ufeff").splitlines() if found else [])
            self.rules[site] = rules
            self.stamps[parts.netloc] = "read" if found else f"none ({answer.status_code})"
        if not self.rules[site].can_fetch(AGENT, address):
            raise NotAllowed(
                f"{site}/robots.txt does not let programs fetch {parts.path}. Ask the museum "
                "(github.com/vanda/etc-docs) before you go on."
            )
