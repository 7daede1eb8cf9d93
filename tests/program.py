"""Running the program as its user does: subprocesses on a data folder of the test's own."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from forked import programs


def pastiche(*words: str, stdin: str | bytes | None = None, timeout: float = 200, **env: str):
    """One run of `pastiche`, to its end."""
    data = stdin.encode() if isinstance(stdin, str) else stdin
    return subprocess.run(
        [programs() / "pastiche", *words],
        input=data if data is not None else b"",
        capture_output=True,
        timeout=timeout,
        env=os.environ | env,
        check=False,
    )


def start(*words: str, **env: str) -> subprocess.Popen[bytes]:
    """`pastiche` in the background, its standard input held open."""
    return subprocess.Popen(
        [sys.executable, "-m", "bot", *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | env,
    )


def events(text: bytes) -> list[dict]:
    """The lines of `ask --json`."""
    return [json.loads(line) for line in text.splitlines()]


def wait_for(path: Path, words: str = "", seconds: float = 200) -> None:
    """Wait until the file is there, with these words in it."""
    until = time.monotonic() + seconds
    while not path.exists() or (words and words not in path.read_text()):
        if time.monotonic() > until:
            raise TimeoutError(f"{path} did not come")
        time.sleep(0.02)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End it and take what it said."""
    if process.poll() is None:
        process.send_signal(signal.SIGKILL)
    process.communicate()
