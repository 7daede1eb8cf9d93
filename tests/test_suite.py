"""The suite itself: a test that hangs ends, whichever way it hangs."""

import os
import subprocess
import sys
from pathlib import Path

from tests.benchmarks.house import circles, imports, read

ROOT = Path(__file__).parents[1]
HANGING = '''"""
>>> import time; time.sleep(60)
"""
import asyncio, time

def test_blocking(): time.sleep(60)

async def test_waiting(): await asyncio.Event().wait()

def test_eating():
    while True:
        try: time.sleep(60)
        except BaseException: pass

def test_other(): pass
'''


def test_whatever_hangs_ends_with_its_stack_and_the_others_go_on(tmp_path: Path) -> None:
    (tmp_path / "test_hanging.py").write_text(HANGING)
    limits = ("-o", "timeout=0.5", "-o", "faulthandler_timeout=1.5")
    options = ("-c", ROOT / "pyproject.toml", "--rootdir", tmp_path, *limits)
    workers = ("-p", "no:cacheprovider", "-n", "1", "--dist", "worksteal")
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *workers, tmp_path],
        capture_output=True,
        text=True,
        timeout=60,
    )
    told = run.stdout + run.stderr
    assert "4 failed, 1 passed" in told
    assert told.count("Timeout (>0.5s) from pytest-timeout") >= 3
    assert "crashed while running" in told
    assert "in test_eating" in told  # faulthandler's stack


def test_a_whole_run_that_hangs_is_ended_and_what_was_running_is_named() -> None:
    hanging = (sys.executable, "-X", "faulthandler", "-c", "import time; time.sleep(99)")
    run = subprocess.run(
        [ROOT / ".ci/run", *hanging],
        env=os.environ | {"CI_SECONDS": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode != 0
    assert "time.sleep(99)" in run.stderr
    assert "most recent call first" in run.stderr


def test_no_module_imports_in_a_circle_in_functions_and_for_types_neither() -> None:
    modules = read(ROOT)
    graph = {name: imports(module, modules, all_=True) for name, module in modules.items()}

    assert [circle for circle in circles(graph) if len(circle) > 1] == []
