"""What has been fetched: an append-only journal, so that nothing is fetched twice after a kill."""

import json
import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from training.runs.atomic import write_text

JOURNAL = "journal.jsonl"


class Journal:
    """A folder of fetched bodies, each file named by its digest, and the journal beside them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / JOURNAL
        self.entries = self.read()

    def read(self) -> dict[str, str]:
        """Address to digest; a last line that a kill cut short is left out."""
        entries: dict[str, str] = {}
        if not self.path.exists():
            return entries
        whole, _, _ = self.path.read_bytes().rpartition(b"\n")
        for line in whole.decode("utf-8").split("\n"):
            if line:
                entry = json.loads(line)
                entries[entry["address"]] = entry["sha256"]
        write_text(self.path, "".join(map(line_of, entries.items())))
        return entries

    def body(self, address: str, fetch: Callable[[str], bytes]) -> bytes:
        """The body of an address: from the folder if it is there and whole, else fetched."""
        if address in self.entries:
            path = self.folder / self.entries[address]
            if path.exists() and sha256(path.read_bytes()).hexdigest() == path.name:
                return path.read_bytes()
        body = fetch(address)
        digest = sha256(body).hexdigest()
        part = self.folder / f"{digest}.part"
        part.write_bytes(body)
        part.replace(self.folder / digest)
        self.note(address, digest)
        return body

    def note(self, address: str, digest: str) -> None:
        """Add one line, on disk before this returns."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line_of((address, digest)))
            file.flush()
            os.fsync(file.fileno())
        self.entries[address] = digest


def line_of(entry: tuple[str, str]) -> str:
    """One line of the journal."""
    return json.dumps({"address": entry[0], "sha256": entry[1]}, ensure_ascii=False) + "\n"
