"""`pastiche` as a program whose every run is a fork of one process that has imported all of it.

The start of Python and of the libraries takes one to three seconds of processor time, and the tests and
the docs have hundreds of commands. Starts, ends and kills of a program alone: program.start, for real.
"""

import asyncio
import atexit
import gc
import json
import os
import select
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

LOADED_LATER = "mixing"  # the folder whose modules import torch
DRIVERS = (
    "alembic.command",
    "sqlalchemy.dialects.sqlite.aiosqlite",
    "sqlalchemy.dialects.postgresql.psycopg",
)
Running = dict[
    int, tuple[int, socket.socket]
]  # by a file that can be read when the process has ended
CLIENT = """#!{python} -SE
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as line:
    line.connect({address!r})
    said = json.dumps([sys.argv, dict(os.environ), os.getcwd()]).encode() + b"\\n"
    socket.send_fds(line, [said[:1]], [0, 1, 2])
    line.sendall(said[1:])
    told = line.makefile()
    told.readline()
    sys.exit(int(told.readline()))
"""


class Forked:
    """A command in a process of its own, with what asyncio's Process has."""

    def __init__(self, words: Sequence[str], env: dict[str, str], said: IO[bytes]) -> None:
        self._code: int | None = None
        self._line = socket.socket(socket.AF_UNIX)
        self._line.connect(str(programs() / "line"))
        asked = json.dumps([["pastiche", *words], env, str(Path.cwd())]).encode() + b"\n"
        with Path(os.devnull).open("rb") as nothing:
            files = [nothing.fileno(), said.fileno(), said.fileno()]
            socket.send_fds(self._line, [asked[:1]], files)
        self._line.sendall(asked[1:])
        self._told = self._line.makefile()
        self.pid = int(self._told.readline())

    @property
    def returncode(self) -> int | None:
        if self._code is None and select.select([self._line], [], [], 0)[0]:
            self._code = int(self._told.readline())
            self._told.close()
            self._line.close()
        return self._code

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    async def wait(self) -> int:
        while (code := self.returncode) is None:
            await asyncio.sleep(0.01)
        return code


async def begin(
    words: Sequence[str], env: dict[str, str], said: IO[bytes], *, anew: bool
) -> Forked | asyncio.subprocess.Process:
    """`pastiche` in the background: a fork, or (`anew`: what is measured) from its first import on."""
    if not anew:
        return Forked(words, env, said)
    program = (sys.executable, "-m", "bot", *words)
    nothing = asyncio.subprocess.DEVNULL
    return await asyncio.create_subprocess_exec(
        *program, env=env, stdin=nothing, stdout=said, stderr=said
    )


@cache
def programs() -> Path:
    """A folder for PATH, in which `pastiche` is; for the whole run."""
    held = TemporaryDirectory()
    folder = Path(held.name)
    program = folder / "pastiche"
    program.write_text(CLIENT.format(python=sys.executable, address=str(folder / "line")))
    program.chmod(0o700)
    root = {"PYTHONPATH": str(Path(__file__).parents[1])}
    words = (sys.executable, __file__, str(folder / "line"))
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    server = subprocess.Popen(words, **pipes, env=os.environ | root)
    assert server.stdout is not None and server.stdout.readline() == b"ready\n"

    def end() -> None:
        server.kill()
        server.communicate()
        held.cleanup()

    atexit.register(end)
    return folder


def _import() -> None:
    """What the commands import each when they need it, but for the libraries of the models."""
    root = Path(__file__).parents[1]
    for path in (path for package in ("bot", "engine") for path in (root / package).rglob("*.py")):
        if path.stem != "__main__" and path.parent.name != LOADED_LATER:
            import_module(".".join(path.relative_to(root).with_suffix("").parts))
    for name in DRIVERS:
        import_module(name)
    gc.collect()
    gc.freeze()


def _serve(address: str) -> None:
    """Commands, each in a process of its own, until those who started it are gone."""
    from bot.cli.app import main

    _import()
    running: Running = {}
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(address)
        door.listen()
        os.write(1, b"ready\n")
        while 0 not in (ready := select.select([door, 0, *running], [], [])[0]):
            for one in ready:
                if one is door:
                    with suppress(OSError):  # who asked may be gone
                        child, line = _begin(door, running, main)
                        running[os.pidfd_open(child)] = child, line
                else:
                    _end(one, *running.pop(one))


def _begin(
    door: socket.socket, running: Running, main: Callable[[], object]
) -> tuple[int, socket.socket]:
    """Fork for one command; the process and the line on which it was asked for."""
    line, _ = door.accept()
    first, files, _, _ = socket.recv_fds(line, 1, 3)
    told = json.loads(first + line.makefile("rb").readline())
    child = os.fork()
    if child == 0:
        code = 70
        try:
            for other in (door, line, *(its_line for _, its_line in running.values())):
                other.close()
            for number in running:
                os.close(number)
            become(*told, files)
            code = code_of(main)
        finally:
            os._exit(code)
    for file in files:
        os.close(file)
    line.sendall(b"%d\n" % child)
    return child, line


def _end(ended: int, child: int, line: socket.socket) -> None:
    os.close(ended)
    _, status = os.waitpid(child, 0)
    with line, suppress(OSError):
        line.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))


def become(words: list[str], environment: dict[str, str], cwd: str, files: list[int]) -> None:
    for place, file in enumerate(files):
        os.dup2(file, place)
        os.close(file)
    sys.argv = words
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)


def code_of(main: Callable[[], object]) -> int:
    """The exit code, its output written out."""
    code = 0
    try:
        main()
    except SystemExit as done:
        code = done.code if isinstance(done.code, int) else int(bool(done.code))
    except BaseException:  # noqa: BLE001 - as Python itself ends a program
        traceback.print_exc()
        code = 1
    with suppress(OSError):  # a closed pipe
        sys.stdout.flush()
        sys.stderr.flush()
    return code


if __name__ == "__main__":
    _serve(sys.argv[1])
