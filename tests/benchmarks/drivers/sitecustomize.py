"""Note which of the product's functions a program calls, and when, for hops.py.

Python loads this by itself when its folder is on PYTHONPATH. What is noted goes to $HOPS_TO when the
program ends; a model's process has an environment without that name, and is left alone.
"""

import atexit
import inspect
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import NoReturn

TO, ROOT = os.environ.get("HOPS_TO", ""), os.environ.get("HOPS_ROOT", "")
FOLDERS = tuple(f"{ROOT}/{name}/" for name in ("bot", "engine"))

names: dict[CodeType, int] = {}
told: list[tuple[str, str, bool]] = []
calls: list[tuple[float, int, bool, int]] = []


def note(frame: FrameType, event: str, _arg: object) -> None:
    """Keep calls, and returns; a generator that goes on is called anew."""
    code = frame.f_code
    if event not in ("call", "return") or not code.co_filename.startswith(FOLDERS):
        return
    number = names.get(code)
    if number is None:
        number = names[code] = len(told)
        path = str(Path(code.co_filename).relative_to(ROOT))
        told.append((path, code.co_qualname, bool(code.co_flags & inspect.CO_ASYNC_GENERATOR)))
    calls.append((time.monotonic(), number, event == "call", threading.get_ident()))


def write() -> None:
    """Leave it all for hops.py."""
    sys.setprofile(None)
    Path(TO).write_text(json.dumps({"functions": told, "calls": calls}), encoding="utf-8")


def leave(code: int, end: Callable[[int], NoReturn] = os._exit) -> NoReturn:
    """End as a serving process does, which waits for no atexit."""
    write()
    end(code)


if TO and "worker" not in sys.orig_argv:
    atexit.register(write)
    os._exit = leave  # type: ignore[assignment]
    threading.setprofile(note)
    sys.setprofile(note)
