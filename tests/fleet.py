"""Bots and worker hosts as processes of their own, to be killed; and what they promised meanwhile."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import psutil
import sqlalchemy as sa

BOT = Path(__file__).with_name("fleet_bot.py")
PROGRAM = (sys.executable, "-c", "from bot.__main__ import main; main()")
PATIENCE = 120.0  # seconds until an answer must come, however busy the machine is


class Fleet:
    """`bots` and `worker_hosts` that are started again whenever they are gone. Without these the bots
    have workers of their own."""

    def __init__(
        self, folder: Path, environment: dict[str, str], *, bots: int, worker_hosts: int
    ) -> None:
        self.folder = folder
        self.kills: Counter[str] = Counter()
        self._environment = os.environ | environment
        self._wanted = {**{f"bot{n}": True for n in range(bots)}}
        self._wanted |= {f"host{n}": False for n in range(worker_hosts)}
        self._own_workers = "0" if worker_hosts else "1"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._logs: list[Path] = []

    def keep_up(self) -> None:
        """Start what is not running."""
        for name, is_bot in self._wanted.items():
            process = self._processes.get(name)
            if process is None or process.poll() is not None:
                self._processes[name] = self._start(name, is_bot)

    def _start(self, name: str, is_bot: bool) -> "subprocess.Popen[bytes]":
        command: tuple[str, ...] = (*PROGRAM, "worker", "--media", "text")
        if is_bot:
            self._logs.append(self.folder / f"{name}-{len(self._logs)}.jsonl")
            command = (sys.executable, str(BOT), name, "4", self._own_workers)
        output = self._logs[-1] if is_bot else self.folder / f"{name}.txt"
        with output.open("ab") as file, (self.folder / f"{name}.err").open("ab") as errors:
            return subprocess.Popen(command, stdout=file, stderr=errors, env=self._environment)

    def kill(self, draw: random.Random) -> str:
        """SIGKILL one of them, or a worker's process under one; says which kind."""
        has_worker_hosts = any(name.startswith("host") for name in self._wanted)
        kind = draw.choice(("bot", "host", "worker") if has_worker_hosts else ("bot", "worker"))
        home = "host" if has_worker_hosts and kind != "bot" else "bot"
        name = draw.choice([n for n in self._wanted if n.startswith(home)])
        process = self._processes[name]
        if kind != "worker":
            process.kill()
            process.wait()
        else:
            children: list[psutil.Process] = []
            with suppress(psutil.NoSuchProcess):
                children = psutil.Process(process.pid).children()
            if not children:
                return ""
            for child in children:
                with suppress(psutil.NoSuchProcess):
                    child.kill()
        self.kills[kind] += 1
        return kind

    def stop(self, prefix: str = "", how: signal.Signals = signal.SIGKILL) -> None:
        """End those whose names begin so, and start them no more."""
        names = [name for name in self._processes if name.startswith(prefix)]
        for name in names:
            with suppress(ProcessLookupError):
                self._processes[name].send_signal(how)
        for name in names:
            self._processes.pop(name).wait(PATIENCE)
            self._wanted.pop(name)

    def clear_up(self) -> None:
        """Stop the bots, who ask without end; one that asks nothing ends what they left."""
        self.stop("bot")
        command = (sys.executable, str(BOT), "last", "0", self._own_workers)
        subprocess.run(command, env=self._environment, timeout=PATIENCE, check=True)

    def said(self, kind: str) -> list[tuple[str, str]]:
        """(job, text) of everything of that kind that the bots have said."""
        found = []
        for log in self._logs:
            for line in log.read_text().splitlines():
                if line.endswith("]"):
                    said_kind, job, text = json.loads(line)
                    if said_kind == kind:
                        found.append((job, text))
        return found

    def get_on(self, answers: int = 1) -> None:
        """Wait for some more answers."""
        before, until = len(self.said("finished")), time.monotonic() + PATIENCE
        while len(self.said("finished")) < before + answers:
            assert time.monotonic() < until, "no answer came"
            self.keep_up()
            time.sleep(0.05)


def verdict(fleet: Fleet, url: str) -> dict[str, int]:
    """What became of all that was accepted, by the ledger at that address."""
    database = sa.create_engine(url, poolclass=sa.NullPool)
    with database.connect() as connection:
        states = {r.id: r.state for r in connection.execute(sa.text("SELECT id, state FROM jobs"))}
        outputs = list(connection.scalars(sa.text("SELECT job_id FROM outputs")))
    database.dispose()
    accepted = {job for job, _ in fleet.said("accepted")}
    texts: dict[str, set[str]] = {}
    for job, text in fleet.said("finished"):
        texts.setdefault(job, set()).add(text)
    counts = Counter(states.values())
    return {
        "accepted": len(accepted),
        "jobs": len(states),
        "finished": counts["finished"],
        "dead": counts["dead"],
        "lost": len(accepted - states.keys()) + counts["queued"] + counts["running"],
        "two answers": sum(len(found) > 1 for found in texts.values())
        + len(outputs) - len(set(outputs)),
    }  # fmt: skip


def unfinished(url: str) -> int:
    """Jobs without a final state."""
    database = sa.create_engine(url, poolclass=sa.NullPool)
    try:
        with database.connect() as connection:
            query = "SELECT count(*) FROM jobs WHERE state IN ('queued', 'running')"
            return int(connection.scalar(sa.text(query)) or 0)
    finally:
        database.dispose()


def settle(fleet: Fleet, url: str) -> None:
    """Let the worker hosts (or the bots' own workers) end what was accepted."""
    until = time.monotonic() + PATIENCE
    while unfinished(url):
        assert time.monotonic() < until, "accepted jobs do not end"
        fleet.keep_up()
        time.sleep(0.1)


class Cable:
    """A loopback connection to a server that can be cut, and mended; `freeze` swallows all instead."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._cut = threading.Event()
        self._frozen = threading.Event()
        self._ends: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if self._cut.is_set():
                near.close()
                continue
            try:
                far = socket.create_connection(("127.0.0.1", self._target))
            except OSError:  # the server is away
                near.close()
                continue
            self._ends |= {near, far}
            for source, target in ((near, far), (far, near)):
                threading.Thread(target=self._carry, args=(source, target), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                while self._frozen.is_set():
                    time.sleep(0.05)
                target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
            self._ends.discard(end)

    def cut(self) -> None:
        """Every connection breaks, and new ones do not come about."""
        self._cut.set()
        for end in list(self._ends):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def freeze(self) -> None:
        """Nothing goes through, and nobody is told."""
        self._frozen.set()

    def mend(self) -> None:
        """As before."""
        self._cut.clear()
        self._frozen.clear()

    def close(self) -> None:
        """For good."""
        self._frozen.clear()
        self.cut()
        self._listener.close()
