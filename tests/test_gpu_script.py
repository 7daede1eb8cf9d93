"""The script for a GPU day: every part runs, tiny, on a processor; also where packages are missing."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
HIDE = """
import importlib.abc, os, sys

class Hidden(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in os.environ["HIDDEN"].split():
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Hidden())
"""
ELSEWHERE = (  # what a machine for PyTorch alone does not have
    "diffusers bitsandbytes pydantic pydantic_settings sqlalchemy psycopg discord ulid "
    "tomlkit platformdirs pytest_asyncio gguf openai dotenv alembic cryptography vllm"
)


def day(folder: Path, *options: str, hidden: str = "") -> dict[str, Any]:
    """What the script has kept."""
    (folder / "sitecustomize.py").write_text(HIDE)
    file = folder / "day.json"
    environment = os.environ | {
        "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}",
        "HIDDEN": hidden,
        "TORCH_COMPILE_DISABLE": "1",  # tracing a UNet takes a processor half a minute
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    command = [sys.executable, "-m", "tests.benchmarks", "gpu", "--tiny", "--json", str(file)]
    subprocess.run([*command, *options], cwd=ROOT, env=environment, check=True, timeout=280)
    found: dict[str, Any] = json.loads(file.read_text())
    return found


# Every day without the parts of pictures: their imports, and the tests' once more, are most of a dry run
PICTURES = "diffusers"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("hidden", "some"), [(PICTURES, 9), pytest.param("", 12, marks=pytest.mark.long)]
)
def test_every_part_of_a_gpu_day_runs_on_a_processor(
    tmp_path: Path, hidden: str, some: int
) -> None:
    found = day(tmp_path, hidden=hidden)
    skipped = {"skipped: no vllm", *(f"skipped: no {name}" for name in hidden.split())}
    parts = {name: told for name, told in found["parts"].items() if told not in skipped}
    assert set(found["parts"].values()) > skipped
    assert len(parts) == some
    assert found["faults"] == []
    assert [told for told in parts.values() if not told.startswith("done")] == []
    names = [figure["name"] for figure in found["figures"]]
    for part in parts:
        assert any(name.startswith(f"{part}: ") for name in names)


@pytest.mark.slow
def test_what_needs_a_missing_package_is_skipped_by_its_name(tmp_path: Path) -> None:
    found = day(tmp_path, hidden=ELSEWHERE)
    parts = found["parts"]
    assert parts.pop("card").startswith("done")
    assert all(told.startswith("skipped: no pydantic") for told in parts.values()), parts
    assert "diffusers" in found["facts"]["wheels missing"]


FAULTS = """
import time, sys
from pathlib import Path
from tests.benchmarks.gpu.day import Day, Part

day = Day(Path(sys.argv[1]), Path(sys.argv[1]) / "day.json", 240, tiny=True)
day.do(Part("bad", lambda day: 1 / 0, 9, 1, 0))
day.do(Part("long", lambda day: time.sleep(60), 1, 1, 0))
day.do(Part("good", lambda day: day.note("one", 1, "thing"), 9, 1, 0))
day.seconds = 1
day.do(Part("late", lambda day: None, 9, 1, 0))
day.end()
"""


def test_a_part_that_fails_or_hangs_stops_no_other(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", FAULTS, str(tmp_path)]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, timeout=120)
    found = json.loads((tmp_path / "day.json").read_text())
    parts = found["parts"]
    assert "failed" in parts["bad"]
    assert "ZeroDivisionError: division by zero" in parts["bad"]
    assert "PartOver: its 1 s are over" in parts["long"]
    assert parts["good"].startswith("done")
    assert parts["late"] == "skipped: it wants 1 s, 0 are left"
    assert [figure["name"] for figure in found["figures"]] == ["good: one"]
