"""A text server on loopback: OpenAI's models and completions, streamed, with faults to order.

It writes the words of WORDS one by one, from a place that the length of the prompt's answer so far
decides, so an answer that is gone on with after a break reads on.
"""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

WORDS = [
    f"word{n}. " if n % 12 == 11 else f"word{n} " for n in range(400)
]  # a sentence ends at every twelfth


@dataclass
class Fault:
    """What happens instead of an answer. `after`: so many words come first; a status hangs before it."""

    status: int = 0
    retry_after: str = ""
    after: int = 0
    hang: float = 0.0
    cut: bool = False
    garbage: bool = False
    model: str = ""
    message: str = "no"


@dataclass
class TextServer:
    """What was asked of it, the faults to come, one a request."""

    address: str = ""
    models: tuple[str, ...] = ("base", "moss", "fern")
    loras: list[dict[str, Any]] | None = None
    slots: list[list[tuple[str, int]]] = field(default_factory=list)  # llama.cpp's prompt cache
    faults: list[Fault] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    pause: float = 0.0  # seconds between words
    usage: bool = True
    turns: bool = True  # the base has a chat template
    left: threading.Event = field(default_factory=threading.Event)  # a client closed its stream
    lock: threading.Lock = field(default_factory=threading.Lock)

    def fault(self, body: dict[str, Any]) -> Fault:
        """The next one; the request is noted."""
        with self.lock:
            self.asked.append(body)
            return self.faults.pop(0) if self.faults else Fault()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "_Server"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Nothing on the screen."""

    def do_GET(self) -> None:
        """Models, and llama.cpp's adapters."""
        service = self.server.service
        if self.path == "/v1/models":
            data = [
                {"id": m, "object": "model", "created": 0, "owned_by": "x"} for m in service.models
            ]
            self._json(200, {"object": "list", "data": data})
        elif self.path == "/lora-adapters" and service.loras is not None:
            self._json(200, service.loras)
        else:
            self._json(404, {"error": {"message": "no such page"}})

    def do_POST(self) -> None:
        """A completion."""
        service = self.server.service
        service.keys.add(self.headers["authorization"])
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        fault = service.fault(body)
        if fault.status:
            time.sleep(fault.hang)
            head = {"retry-after": fault.retry_after} if fault.retry_after else {}
            self._json(fault.status, {"error": {"message": fault.message}}, head)
            return
        if self.path.endswith("/chat/completions") and not service.turns:
            self._json(400, {"error": {"message": "default chat template is no longer allowed"}})
            return
        if body["model"] not in service.models:
            self._json(404, {"error": {"message": "no such model"}})
            return
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        try:
            self._write(body, fault)
        except (BrokenPipeError, ConnectionResetError):
            service.left.set()

    def _write(self, body: dict[str, Any], fault: Fault) -> None:
        service = self.server.service
        chat = "messages" in body
        if chat:
            body = body | {"prompt": "".join(said["content"] for said in body["messages"])}
        said = body["prompt"].count("word") + 12 * _number(service, body)
        for number in range(body["max_tokens"]):
            if number == fault.after and (fault.hang or fault.cut or fault.garbage):
                time.sleep(fault.hang)
                if fault.garbage:
                    self._chunk(b"data: {this is no json\n\n")
                self.close_connection = True
                self.connection.shutdown(2)
                return
            word = WORDS[(said + number) % len(WORDS)]
            text = {"delta": {"content": word}} if chat else {"text": word}
            choice = {"index": 0, "logprobs": None, "finish_reason": None, **text}
            piece = {"id": "cmpl-1", "object": "text_completion", "created": 0, "choices": [choice]}
            piece["model"] = fault.model or body["model"]
            if service.usage:
                tokens = {"prompt_tokens": 31, "completion_tokens": number + 1}
                piece["usage"] = tokens | {"total_tokens": 32 + number}
            self._chunk(f"data: {json.dumps(piece)}\n\n".encode())
            time.sleep(service.pause)
        self._chunk(b"data: [DONE]\n\n")
        self._chunk(b"")

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()

    def _json(self, status: int, value: Any, head: dict[str, str] | None = None) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        for name, text in (head or {}).items():
            self.send_header(name, text)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    service: TextServer

    def handle_error(self, *_args: Any) -> None:
        """A client that has gone is no news."""


def _number(service: TextServer, body: dict[str, Any]) -> int:
    """The adapter that writes, from 1; other numbers, if another has read a part of the prompt.

    As llama.cpp does, the start that a slot knows is not read again, whoever's keys and values stand
    there.
    """
    if service.loras is None:
        return 0
    scales = body.get("lora", service.loras)  # without a word, all as they were started
    own = sum(lora["id"] + 1 for lora in scales if lora["scale"])
    read = [(letter, own) for letter in body["prompt"]]
    if body.get("cache_prompt", True):
        with service.lock:
            slot = max(service.slots, key=lambda slot: _known(slot, read), default=[])
            known = _known(slot, read)
            read[:known] = slot[:known]
            service.slots.append(read)
    readers = {reader for _, reader in read}
    return own if readers == {own} else 10 + sum(readers)


def _known(slot: list[tuple[str, int]], read: list[tuple[str, int]]) -> int:
    """How many letters both begin with."""
    pairs = enumerate(zip(slot, read, strict=False))
    return next((n for n, (a, b) in pairs if a[0] != b[0]), min(len(slot), len(read)))


@contextmanager
def text_server(**options: Any) -> Iterator[TextServer]:
    """Running on a free port."""
    service = TextServer(**options)
    server = _Server(("127.0.0.1", 0), _Handler)
    server.service = service
    service.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
