"""Requests that arrive at random: how long they wait, against how many come.

Time is this process's CPU time, so other programs on the machine do not count, and where nothing is
to be done the clock jumps to the next arrival: the latencies of one undisturbed core. Arrivals are a
Poisson process, the same for every way. In a static batch a row counts as answered at its own last
token, which flatters it. Draws docs/pictures/latency.png if PASTICHE_BENCH_PICTURE names it.
"""

import os
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.backends.mixing.scheduler import MixingScheduler
from tests.benchmarks.figures import Figure, percentile
from tests.benchmarks.mixed_ways import EXPERTS, Ask, a_row, adapter_of, asks, engine, prepared

REQUESTS = int(os.environ.get("PASTICHE_BENCH_REQUESTS", "20"))
LOADS = {  # requests a second that each way is tried with
    "PEFT one by one": (0.125, 0.25, 0.5),
    "PEFT static batches": (0.25, 0.5, 1.0, 2.0),
    "this engine": (0.25, 0.5, 1.0, 2.0, 4.0),
}


@dataclass(slots=True)
class Clock:
    """CPU seconds, and those that were skipped."""

    skipped: float = 0.0
    began: float = field(default_factory=time.process_time)

    def now(self) -> float:
        """Since the beginning."""
        return time.process_time() - self.began + self.skipped

    def until(self, moment: float) -> None:
        """Nothing is to be done before then."""
        self.skipped += max(0.0, moment - self.now())


@dataclass(slots=True, eq=False)
class Visit:
    """One request: when it came, had its first token, and had its last."""

    ask: Ask
    came: float
    first: float = 0.0
    last: float = 0.0

    def token(self, number: int, now: float) -> None:
        """Its token of that number, from 1 on."""
        if number == 1:
            self.first = now - self.came
        if number == self.ask.new:
            self.last = now - self.came


Serve = Callable[[Sequence[Visit], Clock], None]


def run(folder: Path) -> list[Figure]:
    """Percentiles of both latencies for each way and load."""
    import torch

    torch.set_num_threads(1)
    base = prepared(folder)
    queue = asks(base, REQUESTS, most=48)
    one_by_one, static = _peft(base)
    ways = {
        "PEFT one by one": one_by_one,
        "PEFT static batches": static,
        "this engine": _engine(base),
    }
    figures = []
    for way, serve in ways.items():
        serve(_visits(queue[:2], 100.0), Clock())  # warm
        for load in LOADS[way]:
            visits = _visits(queue, load)
            serve(visits, Clock())
            figures += _figures(way, load, visits)
    if picture := os.environ.get("PASTICHE_BENCH_PICTURE"):
        draw(figures, Path(picture))
    return figures


def _visits(queue: Sequence[Ask], load: float) -> list[Visit]:
    chance, came, visits = random.Random(5), 0.0, []
    for ask in queue:
        came += chance.expovariate(load)
        visits.append(Visit(ask, came))
    return visits


def _figures(way: str, load: float, visits: Sequence[Visit]) -> list[Figure]:
    made = []
    for what, times in (
        ("first token", [visit.first for visit in visits]),
        ("whole answer", [visit.last for visit in visits]),
    ):
        assert all(t > 0 for t in times)
        for share in (0.5, 0.95):
            made.append(
                Figure(
                    name=f"{way}, {what}, p{round(share * 100)}",
                    value=percentile(times, share),
                    unit="s",
                    against=f"{load:g} requests/s",
                )
            )
            print(made[-1], flush=True)
    return made


def _engine(base: Path) -> Serve:
    from transformers import AutoTokenizer

    mixer: MixingScheduler = engine(base, "bf16", 16)[1]
    tokenizer = AutoTokenizer.from_pretrained(base)

    def serve(visits: Sequence[Visit], clock: Clock) -> None:
        mixer.prefixes.forget()
        coming, rows = list(visits), {}
        while coming or mixer.busy:
            if not mixer.busy:
                clock.until(coming[0].came)
            while coming and coming[0].came <= clock.now():
                visit = coming.pop(0)
                row = a_row(visit.ask, tokenizer, mixer)
                rows[row] = visit
                mixer.add(row)
            before = {row: row.written for row in rows}
            mixer.step()
            now = clock.now()
            for row, visit in rows.items():
                if row.written > before[row]:
                    visit.token(row.written, now)
            rows = {row: visit for row, visit in rows.items() if row.written < visit.ask.new}

    return serve


def _peft(base: Path) -> tuple[Serve, Serve]:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    inner = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16).eval()
    model: Any = PeftModel.from_pretrained(inner, adapter_of(EXPERTS[0]), adapter_name=EXPERTS[0])
    for expert in EXPERTS[1:]:
        model.load_adapter(adapter_of(expert), adapter_name=expert)
    model.eval()

    def one_by_one(visits: Sequence[Visit], clock: Clock) -> None:
        for visit in visits:
            clock.until(visit.came)
            model.set_adapter(visit.ask.expert, inference_mode=True)
            _write(model, [visit], clock)

    def static(visits: Sequence[Visit], clock: Clock) -> None:
        coming = list(visits)
        while coming:
            clock.until(coming[0].came)
            here = [visit for visit in coming[:16] if visit.came <= clock.now()]
            coming = coming[len(here) :]
            _write(model, here, clock, adapter_names=[visit.ask.expert for visit in here])

    return one_by_one, static


def _write(model: Any, visits: Sequence[Visit], clock: Clock, **options: Any) -> None:
    """All of them in one batch, to the longest's end."""
    import torch

    width = max(len(visit.ask.ids) for visit in visits)
    left = [width - len(visit.ask.ids) for visit in visits]
    ids = [[0] * n + v.ask.ids for n, v in zip(left, visits, strict=True)]
    mask = [[0] * n + [1] * (width - n) for n in left]
    most = max(visit.ask.new for visit in visits)

    def heard(made: Any, _scores: Any, **_options: Any) -> Any:
        for visit in visits:
            visit.token(made.shape[1] - width, clock.now())
        return torch.zeros(len(made), dtype=torch.bool)

    with torch.inference_mode():
        model.generate(
            input_ids=torch.tensor(ids),
            attention_mask=torch.tensor(mask),
            max_new_tokens=most,
            min_new_tokens=most,
            do_sample=False,
            pad_token_id=0,
            stopping_criteria=[heard],
            **options,
        )


def draw(figures: Sequence[Figure], path: Path) -> None:
    """Latency against load, a line for each way: the median, and dashed the 95th percentile."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    sheet, panels = pyplot.subplots(1, 2, figsize=(9, 3.6), sharex=True, layout="constrained")
    for panel, what in zip(panels, ("first token", "whole answer"), strict=True):
        for colour, way in zip(("#b3552d", "#8a8a8a", "#1f5f8b"), LOADS, strict=True):
            for share, style in (("p50", "-"), ("p95", "--")):
                own = [f for f in figures if f.name == f"{way}, {what}, {share}"]
                panel.plot(
                    [float(f.against.split()[0]) for f in own],
                    [f.value for f in own],
                    style,
                    color=colour,
                    marker="o",
                    markersize=3.5,
                    label=way if share == "p50" else None,
                )
        panel.set_xscale("log", base=2)
        panel.set_yscale("log")
        panel.set_xticks([0.125, 0.25, 0.5, 1, 2, 4], ["1/8", "1/4", "1/2", "1", "2", "4"])
        panel.set_title(f"Seconds to the {what}", fontsize=10, loc="left")
        panel.set_xlabel("requests a second")
        panel.grid(alpha=0.25)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].legend(frameon=False, fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.savefig(path, dpi=130)
