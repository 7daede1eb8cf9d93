"""A loopback server that speaks as much of the Hugging Face hub's protocol as a download needs."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from loopback import listening

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class _Hub(BaseHTTPRequestHandler):
    root: Path
    gated: frozenset[str]
    asked: list[str]

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.split("?")[0].strip("/")
        self.asked.append(path)
        if path.startswith("api/models/"):
            repo = "/".join(path.split("/")[2:4])
            self._listing(repo, tree="/tree/" in path)
        elif "/resolve/" in path:
            repo, _, rest = path.partition("/resolve/")
            self._file(repo, rest.partition("/")[2])
        else:
            self._error(404, "RepoNotFound")

    def _listing(self, repo: str, *, tree: bool) -> None:
        if not (self.root / repo).is_dir():
            return self._error(404, "RepoNotFound")
        folder = self.root / repo
        files = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
        if tree:
            entries = [
                {"type": "file", "path": name, "size": p.stat().st_size, "oid": _etag(p)}
                for name, p in sorted(files.items())
            ]
            return self._json(entries)
        siblings = [{"rfilename": name} for name in sorted(files)]
        gated = "manual" if repo in self.gated else False
        return self._json({"id": repo, "sha": COMMIT, "siblings": siblings, "gated": gated})

    def _file(self, repo: str, name: str) -> None:
        if repo in self.gated:
            return self._error(401, "GatedRepo")
        file = self.root / repo / name
        if not file.is_file():
            return self._error(404, "EntryNotFound")
        body = file.read_bytes()
        self.send_response(200)
        self.send_header("ETag", f'"{_etag(file)}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)
        return None

    def _json(self, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def _error(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_words: object) -> None:
        """Quiet."""


def _etag(file: Path) -> str:
    return hashlib.sha1(file.read_bytes()).hexdigest()


@contextmanager
def hub(root: Path, gated: frozenset[str] = frozenset()) -> Iterator[tuple[str, list[str]]]:
    """Serve the folders `root/org/name` as repositories; gives the address and what was asked for."""
    asked: list[str] = []
    handler = type("Hub", (_Hub,), {"root": root, "gated": gated, "asked": asked})
    with listening(handler) as address:
        yield address, asked
