"""The stages of training as commands: each a fork of the test's own process, which has the libraries.

Importing torch, transformers, peft and diffusers takes nine seconds of processor time, and the tests
have thirty such commands. What a start itself must show (that its imports are silent, that the line
which comes next can be pasted), and what is killed, is started for real.
"""

import importlib
import logging
import os
import runpy
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
}
NOT_OURS = "OPENAI_"  # keys of the person who runs the tests


def stage(name: str, *words: object, status: int = 0, **environment: str) -> str:
    """Run a stage to its end; gives what it printed."""
    env = {key: value for key, value in os.environ.items() if not key.startswith(NOT_OURS)}
    env |= {"COLUMNS": "200", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    with warnings.catch_warnings(), TemporaryFile() as told:
        warnings.simplefilter("ignore")
        importlib.import_module(NEEDED.get(name, "training"))
        child = os.fork()
        if child == 0:
            _be_stage(name, [str(word) for word in words], env | environment, told)
        _, ended = os.waitpid(child, 0)
        told.seek(0)
        text = told.read().decode()
    assert os.waitstatus_to_exitcode(ended) == status, text[-2000:]
    return text


def _be_stage(name: str, words: list[str], environment: dict[str, str], told: IO[bytes]) -> None:
    """Become `python -m training.NAME`, and end as it does."""
    code = 70
    try:
        logging.getLogger().handlers.clear()
        with Path(os.devnull).open("rb") as nothing:
            files = [os.dup(file.fileno()) for file in (nothing, told, told)]
        become([name, *words], environment, str(Path.cwd()), files)
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


def as_typed(told: str, **environment: str) -> str:
    """Paste what a stage said comes next into a shell; gives what that prints."""
    (line,) = [line for line in told.splitlines() if line.startswith("Next: ")]
    done = subprocess.run(
        line.removeprefix("Next: "),
        shell=True,
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "200", "OMP_NUM_THREADS": "1", **environment},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout + done.stderr
