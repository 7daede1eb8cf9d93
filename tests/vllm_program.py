"""A stand-in for `vllm serve`: a real server on the socket that it is told, as a program for PATH.

`orders.json` beside the program says what happens, one entry a start, the last one again and again; what
it was started with and asked for is written beside it.
"""

import json
import os
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
from completions_server import Fault, TextServer, _Handler, _Server

PROGRAM = """#!/bin/sh
PYTHONPATH={tests} exec {python} {tests}/vllm_program.py {folder} "$@"
"""


class Installed:
    """The program in a folder for PATH, with orders for its starts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        program = folder / "vllm"
        here = Path(__file__).parent
        program.write_text(PROGRAM.format(tests=here, python=sys.executable, folder=folder))
        program.chmod(0o700)
        self.order({})

    def order(self, *starts: dict[str, Any]) -> None:
        """Say what each start from now on does."""
        (self.folder / "orders.json").write_text(json.dumps(starts))
        (self.folder / "begun").write_text(str(len(self.starts)))

    @property
    def starts(self) -> list[dict[str, Any]]:
        """With which words and environment it was started, and its process number."""
        return _lines(self.folder / "starts.jsonl")

    @property
    def asked(self) -> list[dict[str, Any]]:
        return _lines(self.folder / "asked.jsonl")

    @property
    def said(self) -> str:
        path = self.folder / "said"
        return path.read_text() if path.exists() else ""

    def worker(self) -> int:
        """The process that wants the last one: what started what started it."""
        guard = psutil.Process(self.starts[-1]["pid"]).parent()
        assert guard is not None
        return guard.ppid()

    def alive(self) -> list[int]:
        """Those of its processes, and of their own children, that still run."""
        pids = [pid for start in self.starts for pid in (start["pid"], start["child"])]
        return [pid for pid in pids if _runs(pid)]


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _add(path: Path, value: Any) -> None:
    with path.open("a") as file:
        file.write(json.dumps(value) + "\n")


class Vllm(_Handler):
    server: "VllmServer"

    def do_GET(self) -> None:
        self.server.rest()
        if self.path == "/health":
            self._json(200, "")
        elif self.headers["authorization"] != f"Bearer {os.environ['VLLM_API_KEY']}":
            self._json(401, {"error": "Unauthorized"})
        else:
            super().do_GET()

    def do_POST(self) -> None:
        self.server.rest()
        if self.headers["authorization"] != f"Bearer {os.environ['VLLM_API_KEY']}":
            self._json(401, {"error": "Unauthorized"})
        elif not self.path.endswith("_lora_adapter"):
            super().do_POST()
        else:
            self._adapter(json.loads(self.rfile.read(int(self.headers["content-length"]))))

    def _adapter(self, body: dict[str, str]) -> None:
        service, name = self.server.service, body["lora_name"]
        _add(self.server.folder / "asked.jsonl", {"path": self.path} | body)
        allowed = os.environ.get("VLLM_ALLOW_RUNTIME_LORA_UPDATING") == "True"
        loading, known = self.path.endswith("/load_lora_adapter"), name in service.models
        there = not loading or Path(body["lora_path"], "adapter_config.json").exists()
        refused = loading and name.startswith(self.server.refused)
        if not allowed or known == loading or not there or refused:
            self._json(400, {"error": {"message": "no"}})
            return
        others = tuple(model for model in service.models if model != name)
        service.models = (*others, name) if loading else others
        self._json(200, "Success")

    def _write(self, body: dict[str, Any], fault: Fault) -> None:
        super()._write(body, fault)
        if fault.cut:
            os.kill(os.getpid(), signal.SIGKILL)


class VllmServer(_Server):
    address_family = socket.AF_UNIX
    folder: Path
    refused: tuple[str, ...] = ()  # adapters, by the beginnings of their names
    hanging = False

    def server_bind(self) -> None:
        """As for any socket: HTTPServer's own asks for the name of a host."""
        socketserver.TCPServer.server_bind(self)

    def rest(self) -> None:
        """Stay silent from now on, health included, once that was ordered."""
        if self.hanging:
            time.sleep(600)


class Service(TextServer):
    server: VllmServer

    def fault(self, body: dict[str, Any]) -> Fault:
        fault = super().fault(body)
        _add(self.server.folder / "asked.jsonl", body)
        self.server.hanging = self.server.hanging or fault.message == "hang"
        return fault


def main(folder: Path, words: list[str]) -> None:
    said = dict(pairwise(words))
    orders = json.loads((folder / "orders.json").read_text())
    number = len(_lines(folder / "starts.jsonl")) - int((folder / "begun").read_text())
    order = orders[min(number, len(orders) - 1)]
    child = subprocess.Popen(["sleep", "600"])  # as vLLM's engine is
    about = {"words": words, "pid": os.getpid(), "child": child.pid, "environment": {**os.environ}}
    _add(folder / "starts.jsonl", about)
    if "exit" in order:
        sys.exit(order["exit"])
    time.sleep(order.get("late", 0))
    at = words.index("--lora-modules") + 1 if "--lora-modules" in words else len(words)
    loras = [json.loads(word)["name"] for word in words[at:] if word.startswith("{")]
    refused = tuple(order.get("refuses", ()))
    if any(name.startswith(refused) for name in loras):
        sys.exit(1)
    service = Service(models=(order.get("base", said["--served-model-name"]), *loras))
    if "base" in order:
        service.models = (order["base"],)
    service.pause = order.get("pause", 0.0)
    service.faults = [Fault(**fault) for fault in order.get("faults", [])]
    server = VllmServer(said["--uds"], Vllm)  # type: ignore[arg-type]
    server.folder, server.service, service.server = folder, service, server
    server.refused = refused

    def leave(*_: object) -> None:
        with (folder / "said").open("a") as file:
            file.write("told to end\n")
        if not order.get("deaf"):
            threading.Thread(target=server.shutdown).start()

    signal.signal(signal.SIGTERM, leave)
    server.serve_forever(0.02)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
