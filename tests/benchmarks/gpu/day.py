"""The clock, the memory and the notebook of a GPU day: parts run within limits, figures are kept."""

import gc
import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.benchmarks.figures import Figure
from tests.benchmarks.gpu.machine import facts_of, is_there

LAST_SECONDS = 5  # that are left over for the table


class PartOver(Exception):
    """A part has used its time up."""


@dataclass(frozen=True, slots=True)
class Part:
    """`limit` in seconds; it is not begun with less than `least` left, or without `gib` of memory.

    Parts of one `group`, next to each other, share what they build (Day.held).
    """

    name: str
    work: Callable[["Day"], None]
    limit: int
    least: int
    gib: float
    needs: tuple[str, ...] = ()
    group: str = ""


@dataclass(slots=True, eq=False)
class Day:
    """What is measured with: `note` keeps a figure, `sync` waits for the device."""

    folder: Path
    json: Path
    seconds: int
    tiny: bool = False
    device: str = field(init=False)
    figures: list[Figure] = field(default_factory=list)
    parts: dict[str, str] = field(default_factory=dict)  # name -> what became of it
    held: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    _group: str = ""
    _part: str = ""
    _began: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        import torch

        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.facts = facts_of(self.device, tiny=self.tiny)
        print(json.dumps(self.facts, indent=1), flush=True)
        self.save()

    @property
    def left(self) -> float:
        """Seconds of the whole day."""
        return self.seconds - (time.monotonic() - self._began) - LAST_SECONDS

    def do(self, part: Part) -> None:
        """Run it, or say why not; what goes wrong in it ends it alone."""
        if (part.group or part.name) != self._group:
            self.held.clear()
        self._group, self._part = part.group or part.name, part.name
        self.clean()
        began = time.monotonic()
        reason = self._hindrance(part)
        if not reason:
            print(f"--- {part.name} ({self.left:.0f} s left)", flush=True)
            self.parts[part.name] = "under way"
            self.save()
            try:
                with at_most(min(part.limit, max(1.0, self.left))):
                    part.work(self)
                reason = f"done in {time.monotonic() - began:.1f} s"
            except Exception as error:  # noqa: BLE001 - told, and the next part goes on
                reason = f"failed after {time.monotonic() - began:.1f} s: {in_a_line(error)}"
        self.parts[part.name] = reason
        print(f"--- {part.name}: {reason}", flush=True)
        self.save()

    def _hindrance(self, part: Part) -> str:
        missing = [name for name in part.needs if not is_there(name)]
        if missing:
            return f"skipped: no {', '.join(missing)}"
        if self.left < (1 if self.tiny else part.least):
            return f"skipped: it wants {part.least} s, {max(0, self.left):.0f} are left"
        free = self.free_gib()
        if not self.tiny and free < part.gib:
            return f"skipped: it wants {part.gib} GiB, {free:.1f} are free"
        return ""

    def free_gib(self) -> float:
        """Of the device's memory."""
        import torch

        return torch.cuda.mem_get_info()[0] / 2**30 if self.device == "cuda" else float("inf")

    def note(self, name: str, value: float, unit: str, against: str = "") -> None:
        """Keep a figure; the file is rewritten at once, so that a kill loses nothing."""
        figure = Figure(name=f"{self._part}: {name}", value=value, unit=unit, against=against)
        self.figures.append(figure)
        print(f"{figure.name}: {value:.4g} {unit} {against}", flush=True)
        self.save()

    @contextmanager
    def tried(self, name: str) -> Iterator[None]:
        """Let one measure of a part fail alone: out of memory, or numbers that are not finite."""
        self.clean()
        try:
            yield
        except PartOver:
            raise
        except Exception as error:  # noqa: BLE001 - told, and the next measure goes on
            self.faults.append(f"{self._part}: {name}: {in_a_line(error)}")
            print(f"!!! {self.faults[-1]}", flush=True)

    def peak(self, name: str) -> None:
        """Note the most memory since the last `clean`."""
        import torch

        if self.device == "cuda":
            self.note(f"{name}: peak memory", torch.cuda.max_memory_allocated() / 2**30, "GiB")

    def clean(self) -> None:
        """Give back what nothing holds, and count the peak anew."""
        import torch

        gc.collect()
        if self.device == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def sync(self) -> None:
        """Wait until the device has done everything."""
        import torch

        if self.device == "cuda":
            torch.cuda.synchronize()

    def timed(self, work: Callable[[], object], times: int = 3, warm: int = 1) -> float:
        """Seconds of the median of so many, each waited for; a dry run does it once."""
        times, warm = (1, 0) if self.tiny else (times, warm)
        taken = []
        for number in range(warm + times):
            self.sync()
            began = time.perf_counter()
            work()
            self.sync()
            if number >= warm:
                taken.append(time.perf_counter() - began)
        return sorted(taken)[len(taken) // 2]

    def save(self) -> None:
        """Rewrite the file."""
        self.json.parent.mkdir(parents=True, exist_ok=True)
        found = {
            "facts": self.facts,
            "parts": self.parts,
            "faults": self.faults,
            "seconds": round(time.monotonic() - self._began, 1),
            "figures": [asdict(figure) for figure in self.figures],
        }
        new = self.json.with_suffix(".new")
        new.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        new.replace(self.json)

    def end(self) -> None:
        """Print everything once more, for whoever sees only the end."""
        self.held.clear()
        print("\n=== " + ", ".join(f"{k} {v}" for k, v in self.facts.items()))
        for figure in self.figures:
            print(f"{figure.name:58} {figure.value:>10.4g} {figure.unit:14} {figure.against}")
        for name, told in self.parts.items():
            print(f"part {name}: {told}")
        for told in self.faults:
            print(f"fault {told}")
        self.save()


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raise PartOver in it when the time is up; code that is not Python may overrun."""

    def over(_number: int, _frame: object) -> None:
        raise PartOver(f"its {seconds:.0f} s are over")

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds, 5)  # again, if a library has eaten it
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def in_a_line(error: BaseException) -> str:
    """Its name, its first words, and where it came from."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f" ({Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno})" if trace else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}{where}"
