"""A local HTTP server that answers as a test tells it to, and notes what it was asked."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, urlsplit

from loopback import listening


@dataclass
class Answer:
    """One scripted answer; `cut` ends the body after so many bytes, though it promised more."""

    body: str = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None


@dataclass
class Stand:
    """Scripted answers by path; the last of a path is given again and again."""

    answers: dict[str, list[Answer]]
    address: str = ""
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    agents: set[str] = field(default_factory=set)

    def answer(self, path: str, query: dict[str, str], agent: str) -> Answer:
        """The next answer for a path; 404 for an unknown one."""
        self.asked.append((path, query))
        self.agents.add(agent)
        script = self.answers.get(path)
        if not script:
            return Answer("not here", status=404)
        return script.pop(0) if len(script) > 1 else script[0]

    @property
    def paths(self) -> list[str]:
        """The paths asked for, in order."""
        return [path for path, _ in self.asked]


@contextmanager
def serving(answers: dict[str, list[Answer]]) -> Iterator[Stand]:
    """Run a server on loopback for as long as the block lasts."""
    stand = Stand(answers)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            answer = stand.answer(parts.path, query, self.headers.get("User-Agent", ""))
            body = answer.body.encode()
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: answer.cut])
            self.close_connection = True

        def log_message(self, *words: object) -> None:
            """Nothing: tests are quiet."""

    with listening(Handler) as stand.address:
        yield stand
