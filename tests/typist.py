"""Types shell lines as a reader of the docs does. `pastiche` is the program itself, read in once.

Each command is a fork of one process that has imported the program and done nothing else: the start of
Python and of the libraries is a second of processor time, and the docs have dozens of commands.
"""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

CLIENT = """#!{python} -SE
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as line:
    line.connect({address!r})
    said = json.dumps([sys.argv, dict(os.environ), os.getcwd()]).encode() + b"\\n"
    socket.send_fds(line, [said[:1]], [0, 1, 2])
    line.sendall(said[1:])
    sys.exit(int(line.recv(8)))
"""


@contextmanager
def typing(folder: Path) -> Iterator[Path]:
    """A folder for PATH, in which `pastiche` is."""
    address = folder / "line"
    (folder / "bin").mkdir()
    program = folder / "bin" / "pastiche"
    program.write_text(CLIENT.format(python=sys.executable, address=str(address)))
    program.chmod(0o700)
    server = subprocess.Popen([sys.executable, __file__, str(address)], stdout=subprocess.PIPE)
    try:
        assert server.stdout is not None and server.stdout.readline() == b"ready\n"
        yield program.parent
    finally:
        server.kill()
        server.communicate()


def type_lines(lines: str, cwd: Path, programs: Path, **env: str) -> str:
    """What bash says to them, each with its own lines before; it stops at the first that fails."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", lines],
        cwd=cwd,
        env=os.environ | env | {"PATH": f"{programs}:{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=200,
        check=False,
    )
    told = done.stdout.decode()
    assert done.returncode == 0, told
    return told


def _serve(address: str) -> None:
    """One command after another, each in a process of its own."""
    from bot.__main__ import main

    with socket.socket(socket.AF_UNIX) as door:
        door.bind(address)
        door.listen()
        os.write(1, b"ready\n")
        while True:
            line, _ = door.accept()
            with line:
                first, files, _, _ = socket.recv_fds(line, 1, 3)
                said, environment, cwd = json.loads(first + line.makefile("rb").readline())
                child = os.fork()
                if child == 0:
                    for place, file in enumerate(files):
                        os.dup2(file, place)
                    sys.argv = said
                    os.environ.clear()
                    os.environ.update(environment)
                    os.chdir(cwd)
                    os._exit(_code(main))
                _, status = os.waitpid(child, 0)
                for file in files:
                    os.close(file)
                line.sendall(str(os.waitstatus_to_exitcode(status)).encode())


def _code(main: Callable[[], None]) -> int:
    """The exit code, its output written out."""
    try:
        main()
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else bool(done.code)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


if __name__ == "__main__":
    _serve(sys.argv[1])
