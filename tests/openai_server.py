"""A service on loopback that speaks OpenAI's chat completions.

It looks at no picture: it answers from the catalogue data in the question. Replies for single
pictures are put in by system number, each given once, then the usual one.
"""

import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import urlsplit

from loopback import listening

TOKENS = (1100, 120)  # in and out, of every answer


@dataclass
class Reply:
    """What one question gets; `body` replaces the whole answer."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    content: str | None = None
    finish_reason: str = "stop"
    refusal: str | None = None
    body: str | None = None
    error: dict[str, str] = field(default_factory=dict)


def description(**changes: Any) -> dict[str, Any]:
    """A usual description."""
    return {
        "object_type": "tiara",
        "materials": ["gold", "pearls"],
        "craftsmanship": "openwork scrolls with filigree and granulation on a curved band",
        "gemstones_and_settings": "round seed pearls in claw settings",
        "style_and_history": "neoclassical style of the early nineteenth century",
        "condition": "good with light wear to the gilding",
        "uncertain": [],
        **changes,
    }


@dataclass
class Service:
    """What was asked, the replies to come."""

    replies: dict[str, list[Reply]] = field(default_factory=dict)  # by words in the question
    models: tuple[str, ...] = ("gpt-4.1-2025-04-14",)
    address: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    heads: list[str] = field(default_factory=list)
    slow: float = 0.0  # seconds before each answer
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def questions(self) -> list[str]:
        """The texts of the questions, in order."""
        return [text_of(body) for body in self.asked]

    def reply(self, body: dict[str, Any]) -> Reply:
        """The next reply to a question."""
        with self.lock:
            self.asked.append(body)
            for words, script in self.replies.items():
                if words in text_of(body) and script:
                    return script.pop(0)
        return Reply()

    def complete(self, body: dict[str, Any]) -> tuple[int, dict[str, str], str]:
        """Status, headers and body of an answer."""
        if body["model"] not in self.models:
            return 404, {}, error("model_not_found", "no such model")
        reply = self.reply(body)
        time.sleep(self.slow)
        if reply.status != 200:
            return reply.status, reply.headers, json.dumps({"error": reply.error})
        if reply.body is not None:
            return 200, reply.headers, reply.body
        content = reply.content if reply.content is not None else json.dumps(description())
        message = {
            "role": "assistant",
            "content": None if reply.refusal else content,
            "refusal": reply.refusal,
        }
        choice = {"index": 0, "message": message, "finish_reason": reply.finish_reason}
        usage = {"prompt_tokens": TOKENS[0], "completion_tokens": TOKENS[1]}
        answer = {"id": "chatcmpl-1", "object": "chat.completion", "created": 0}
        answer |= {"model": body["model"], "choices": [choice], "usage": usage}
        return 200, {"x-request-id": "req_1"}, json.dumps(answer)


def text_of(body: dict[str, Any]) -> str:
    """The words of a question, without the picture."""
    (message,) = body["messages"]
    return "".join(part.get("text", "") for part in message["content"])


def error(code: str, message: str) -> str:
    """An error's body."""
    return json.dumps(
        {"error": {"message": message, "type": "invalid_request_error", "code": code}}
    )


@contextmanager
def service_of(**changes: Any) -> Iterator[Service]:
    """Run a service on loopback for as long as the block lasts."""
    service = Service(**changes)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            service.keys.add(self.headers.get("Authorization", ""))
            service.heads.append(str(self.headers))
            path = re.sub(r"^/v1", "", urlsplit(self.path).path)
            if path == "/chat/completions":
                status, headers, text = service.complete(json.loads(body))
                self.say(status, text, headers)
            else:
                self.say(404, error("not_found", "not here"))

        def say(self, status: int, text: str, headers: dict[str, str] | None = None) -> None:
            data = text.encode()
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
            self.close_connection = True

        def log_message(self, *words: object) -> None:
            """Nothing: tests are quiet."""

    with listening(Handler) as address:
        service.address = f"{address}/v1"
        yield service
