"""Keep what has been fetched, and a journal of it: nothing is fetched twice after a kill."""

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from engine.files import write_file
from training.run.json_lines import add_lines, read_lines

JOURNAL = "journal.jsonl"


class Journal:
    """Hold a folder of fetched bodies, each file named by its digest, and the journal beside them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.entries = {row["address"]: row for row in read_lines(folder / JOURNAL)}

    def held(self, address: str) -> bytes | None:
        """Read the body of an address, or None if it is missing or damaged."""
        entry = self.entries.get(address)
        if entry is None or not (path := self.folder / entry["sha256"]).exists():
            return None
        body = path.read_bytes()
        return body if sha256(body).hexdigest() == path.name else None

    def keep(self, address: str, body: bytes, **more: object) -> None:
        """Put a body on disk, then into the journal."""
        digest = sha256(body).hexdigest()
        write_file(self.folder / digest, body)
        self.entries[address] = {"address": address, "sha256": digest, **more}
        add_lines(self.folder / JOURNAL, self.entries[address])

    def body(self, address: str, fetch: Callable[[str], bytes]) -> bytes:
        """Read the body of an address, fetching it if it is not here."""
        body = self.held(address)
        if body is None:
            body = fetch(address)
            self.keep(address, body)
        return body
