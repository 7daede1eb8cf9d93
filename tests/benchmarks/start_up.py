"""How long a person waits for the program: help, a one-line answer, the chat's first reply."""

import os
import resource
import subprocess
import sys
import time
from pathlib import Path

from tests.benchmarks.figures import Figure, middle

TIMES = 3


def run(folder: Path) -> list[Figure]:
    """Wall seconds of whole processes on the echo backend; CPU is theirs and their children's."""
    environment = os.environ | {
        "PASTICHE_HOME": str(folder / "home"),
        "PASTICHE_KEY_FILE": str(folder / "key"),
        "PASTICHE_BACKEND": "echo",
    }
    figures = []
    for name, words, typed, against in (
        ("pastiche --help", ["--help"], "", ""),
        ("pastiche ask, to the end", ["ask", "It rained."], "", "with a new worker process"),
        ("chat, to its first reply", ["chat"], "/styles\n", "aim under 10 s"),
    ):
        walls, cpus = [], []
        for _ in range(TIMES):
            began, spent = time.perf_counter(), _children()
            subprocess.run(
                [sys.executable, "-m", "bot", *words],
                input=typed.encode(),
                env=environment,
                capture_output=True,
                check=True,
            )
            walls.append(time.perf_counter() - began)
            cpus.append(_children() - spent)
        figures.append(
            Figure(
                name=name,
                value=middle(walls),
                unit="s",
                against=against,
                wall_seconds=sum(walls),
                cpu_seconds=sum(cpus),
            )
        )
    return figures


def _children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
