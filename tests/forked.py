"""`pastiche` as a program whose every run is a fork of one process that has imported all of it.

The start of Python and of the libraries takes a second of processor time, and the tests and the docs
have hundreds of commands. What a signal is sent to, or is killed, is started for real: program.start.
"""

import atexit
import gc
import json
import os
import select
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

LOADED_LATER = "mixing"  # the folder whose modules import torch
DRIVERS = (
    "alembic.command",
    "sqlalchemy.dialects.sqlite.aiosqlite",
    "sqlalchemy.dialects.postgresql.psycopg",
)
CLIENT = """#!{python} -SE
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as line:
    line.connect({address!r})
    said = json.dumps([sys.argv, dict(os.environ), os.getcwd()]).encode() + b"\\n"
    socket.send_fds(line, [said[:1]], [0, 1, 2])
    line.sendall(said[1:])
    sys.exit(int(line.recv(8)))
"""


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
    """One command after another, each in a process of its own, until those who started it are gone."""
    from bot.cli.app import main

    _import()
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(address)
        door.listen()
        os.write(1, b"ready\n")
        while door in select.select([door, 0], [], [])[0]:
            line, _ = door.accept()
            with line, suppress(OSError):  # who asked may be gone
                first, files, _, _ = socket.recv_fds(line, 1, 3)
                told = json.loads(first + line.makefile("rb").readline())
                child = os.fork()
                if child == 0:
                    door.close()
                    become(*told, files)
                    os._exit(code_of(main))
                for file in files:
                    os.close(file)
                _, status = os.waitpid(child, 0)
                line.sendall(str(os.waitstatus_to_exitcode(status)).encode())


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
