"""The parts of a GPU day in order of worth, with what each may cost."""

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path

from tests.benchmarks.gpu.day import Day, Part

ROOT = Path(__file__).parents[3]
ENGINE = ("pydantic", "transformers", "safetensors")  # what the batch imports on its way
PICTURES = (*ENGINE, "diffusers", "peft", "pydantic_settings", "platformdirs")
TRAINING = (*ENGINE, "peft", "accelerate", "typer", "rich", "pydantic_settings")


def card(day: Day) -> None:
    """The two ceilings: memory's and the products'."""
    import torch

    size = 1 << (20 if day.tiny else 30)
    one = torch.randn(size, device=day.device)
    other = torch.empty_like(one)
    seconds = day.timed(partial(other.copy_, one), 5, 2)
    day.note("memory, read and written", 2 * one.nbytes / seconds / 1e9, "GB/s")
    del one, other
    side = 256 if day.tiny else 8192
    a = torch.randn(side, side, device=day.device, dtype=torch.bfloat16)
    seconds = day.timed(lambda: a @ a, 5, 2)
    day.note(f"bf16 product of {side} x {side}", 2 * side**3 / seconds / 1e12, "TFLOP/s")
    out, wide = (96, 64) if day.tiny else (9216, 2304)
    tall = torch.randn(out, wide, device=day.device, dtype=torch.bfloat16)
    for rows in (1, 16, 64):
        x = torch.randn(rows, wide, device=day.device, dtype=torch.bfloat16)
        seconds = day.timed(lambda x=x: [x @ tall.t() for _ in range(50)], 3, 1) / 50  # type: ignore[misc]
        day.note(f"Gemma's up product, {rows} rows", 1e6 * seconds, "us")


ON_A_GPU = ("mixing_devices", "row_loras", "graphed_training")


def tests(day: Day) -> None:
    """`pytest -m gpu` in a process of its own, without the project's settings for it."""
    command = [
        sys.executable, "-m", "pytest", "-q", "-x" if day.tiny else "-q", "--noconftest",
        "-c", "/dev/null", f"--rootdir={ROOT}", "-p", "no:cacheprovider", "--tb=short",
        "-W", "ignore", "-o", "pythonpath=tests .", "-m", "gpu",
        *(str(ROOT / "tests" / f"test_{name}.py") for name in ON_A_GPU),
    ]  # fmt: skip
    if day.tiny:
        command[-4:] = ["gpu or not gpu", command[-3], "-k", "finite"]
    told = day.folder / "pytest.txt"
    try:
        with told.open("w") as out:
            done = subprocess.run(command, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT)
    finally:
        lines = told.read_text(errors="replace").strip().splitlines()
        print("\n".join(lines[-60:]), flush=True)
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    for line in failed[:10]:
        day.note(line[:200], 1, "test")
    day.note("exit status of pytest -m gpu", done.returncode, "", lines[-1] if lines else "")
    if done.returncode:
        raise AssertionError((lines or ["it said nothing"])[-1])


def later(module: str, name: str) -> Callable[[Day], None]:
    """A part's function, its module imported when it is its turn."""

    def work(day: Day) -> None:
        getattr(import_module(f"tests.benchmarks.gpu.{module}"), name)(day)

    return work


PARTS = (
    Part("card", card, 20, 5, 9),
    Part("text", later("text", "decode"), 80, 20, 16, ENGINE, "text"),
    Part("text-eager", later("text", "eager"), 60, 25, 12, ENGINE, "text"),
    Part("tests", tests, 100, 20, 2, (*ENGINE, "peft", "diffusers", "pytest")),
    Part("pictures", later("pictures", "pictures"), 130, 30, 40, PICTURES, "pictures"),
    Part("text-load", later("text", "arrivals"), 45, 25, 12, ENGINE, "more-text"),
    Part("text-profile", later("text", "profile"), 30, 10, 12, ENGINE, "more-text"),
    Part("qlora", later("fitting", "qlora"), 40, 15, 30, (*TRAINING, "bitsandbytes")),
    Part("lora", later("fitting", "lora"), 50, 15, 30, TRAINING),
    Part("image-lora", later("fitting", "image"), 45, 15, 30, (*TRAINING, "diffusers")),
    Part("peft", later("peers", "one_by_one"), 60, 25, 16, (*ENGINE, "peft"), "peft"),
    Part("vllm", later("peers", "vllm"), 120, 60, 60, (*ENGINE, "vllm")),
    Part("peft-static", later("peers", "static_cache"), 80, 30, 16, (*ENGINE, "peft"), "peft"),
)
