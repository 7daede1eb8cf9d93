"""The stages of training as commands: each a fork of the test's own process, which has the libraries.

Importing torch, transformers, peft and diffusers takes nine seconds of processor time, and the tests
have forty such commands. What a start itself must show (that its imports are silent, that the line
which comes next can be pasted) is started for real.
"""

import importlib
import logging
import os
import runpy
import shlex
import subprocess
import sys
import warnings
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from forked import become, code_of

NEEDED = {  # modules that pull in what a stage loads when it is at work
    "corpus": "transformers.models.auto.tokenization_auto",
    "train_text": "peft",
    "evaluate_text": "peft",
    "train_image": "diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl",
    "evaluate_image": "diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl",
    "caption": "openai",
}
NOT_OURS = "OPENAI_"  # keys of the person who runs the tests


def stage(name: str, *words: object, status: int = 0, **environment: str) -> str:
    """Run a stage to its end; gives what it printed."""
    with TemporaryFile() as told:
        child = begin(name, *words, told=told, **environment)
        _, ended = os.waitpid(child, 0)
        told.seek(0)
        text = told.read().decode()
    assert os.waitstatus_to_exitcode(ended) == status, text[-2000:]
    return text


def begin(
    name: str,
    *words: object,
    told: IO[bytes],
    faults: IO[bytes] | None = None,
    typed: int | None = None,
    **environment: str,
) -> int:
    """Start a stage and give its process; `typed` is the terminal at which its person sits."""
    env = {key: value for key, value in os.environ.items() if not key.startswith(NOT_OURS)}
    env |= {"COLUMNS": "200", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    with warnings.catch_warnings(), Path(os.devnull).open("rb") as nothing:
        warnings.simplefilter("ignore")
        importlib.import_module(NEEDED.get(name, "training"))
        child = os.fork()
        if child == 0:
            asked = nothing.fileno() if typed is None else typed
            files = [asked, told.fileno(), (faults or told).fileno()]
            _be_stage(name, [str(word) for word in words], env | environment, files)
    return child


def _be_stage(name: str, words: list[str], environment: dict[str, str], files: list[int]) -> None:
    """Become `python -m training.NAME`, and end as it does."""
    code = 70
    try:
        logging.getLogger().handlers.clear()
        become([name, *words], environment, str(Path.cwd()), [os.dup(file) for file in files])
        # a fork's pool of threads is made anew at its first use, which must not be by two at once
        if torch := sys.modules.get("torch"):
            torch.set_num_threads(torch.get_num_threads())
        sys.stdin, sys.stdout, sys.stderr = (
            open(number, mode, encoding="utf-8", closefd=False)  # noqa: SIM115
            for number, mode in ((0, "r"), (1, "w"), (2, "w"))
        )
        warnings.simplefilter("ignore")
        if "accelerate" in sys.modules:  # what this process has trained is no matter of the stage's
            sys.modules["accelerate"].state.AcceleratorState._reset_state(reset_partial_state=True)
        module = f"training.{name}"
        code = code_of(lambda: runpy.run_module(module, run_name="__main__", alter_sys=True))
    finally:
        os._exit(code)


def next_words(told: str) -> list[str]:
    """Split the command that a stage said comes next as a shell does: the stage, then its words."""
    python, dash, module, *words = shlex.split(_next_line(told))
    assert (Path(python).resolve(), dash) == (Path(sys.executable).resolve(), "-m")
    return [module.removeprefix("training."), *words]


def _next_line(told: str) -> str:
    (line,) = [line for line in told.splitlines() if line.startswith("Next: ")]
    return line.removeprefix("Next: ")


def as_typed(told: str, **environment: str) -> str:
    """Paste what a stage said comes next into a shell; gives what that prints."""
    done = subprocess.run(
        _next_line(told),
        shell=True,
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "200", "OMP_NUM_THREADS": "1", **environment},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout + done.stderr
