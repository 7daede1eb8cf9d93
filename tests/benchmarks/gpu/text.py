"""Stories by the product's own batch: tokens a second, first tokens, and where a step's time goes."""

import random
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from engine.backends.mixing.sampler import choose
from engine.plan.cards import Sampling
from tests.benchmarks.figures import percentile
from tests.benchmarks.gpu.day import Day
from tests.benchmarks.gpu.shapes import EXPERTS, build_mixer, tokenizer_of
from tests.benchmarks.mixed_ways import Ask, a_row

LOADS = (1, 16, 64)
PROMPT, NEW = 60, 128
RATES = (2, 8, 16)  # requests a second
LOAD_SECONDS = 6.0
STEPS = 10
DRAWN = Sampling(
    temperature=0.8, top_p=0.95, top_k=64, repetition_penalty=1.1
)  # random logits are flat


def loads(day: Day) -> tuple[int, ...]:
    """How many requests at a time."""
    return (1, 3, 5) if day.tiny else LOADS


def asks(day: Day, number: int, *, bare: bool = False, seed: int = 0) -> list[Ask]:
    """Requests of unlike prompts over three adapters, or of the base alone."""
    draw = random.Random(seed)
    most = 500 if day.tiny else 200_000
    prompt, new = (12, 6) if day.tiny else (PROMPT, NEW)
    return [
        Ask(
            "nobody" if bare else EXPERTS[place % 3],
            [draw.randint(5, most) for _ in range(prompt)],
            new,
        )
        for place in range(number)
    ]


def batch(day: Day) -> tuple[Any, Any]:
    """The mixer and a tokenizer; built once for the parts that follow each other."""
    if "batch" not in day.held:
        began = time.perf_counter()
        day.held["batch"] = build_mixer(day, max(loads(day))), tokenizer_of(day)
        day.sync()
        day.note("base built and made ready", time.perf_counter() - began, "s")
    return day.held["batch"]  # type: ignore[no-any-return]


def serve(
    day: Day, queue: Sequence[Ask], sampling: Sampling | None = None, rate: float = 0.0
) -> tuple[list[Any], float, list[float]]:
    """The rows written, the seconds, and each one's wait for its first token.

    All come at once, or `rate` a second by chance.
    """
    mixer, tokenizer = batch(day)
    mixer.prefixes.forget()
    draw, due, waiting = random.Random(5), 0.0, []
    for ask in queue:
        waiting.append((due, ask))
        due += draw.expovariate(rate) if rate else 0.0
    rows: list[Any] = []
    firsts: dict[int, float] = {}
    came: list[float] = []
    day.sync()
    began = time.perf_counter()
    while waiting or mixer.busy:
        now = time.perf_counter() - began
        while waiting and waiting[0][0] <= now:
            when, ask = waiting.pop(0)
            row = a_row(ask, tokenizer, mixer)
            if sampling is not None:
                row.job = replace(row.job, sampling=sampling)
            came.append(when)
            rows.append(row)
            mixer.add(row)
        if not mixer.busy:
            time.sleep(0.001)
            continue
        mixer.step()
        now = time.perf_counter() - began
        for number, row in enumerate(rows):
            if row.written and number not in firsts:
                firsts[number] = now - came[number]
    day.sync()
    seconds = time.perf_counter() - began
    assert all(row.written == ask.new for row, ask in zip(rows, queue, strict=True)), "a row failed"
    return rows, seconds, list(firsts.values())


def decode(day: Day) -> None:
    """1, 16 and 64 requests of 128 tokens: mixed over three adapters, bare, and drawn."""
    import torch

    serve(day, asks(day, 4))
    for number in loads(day):
        _measure(day, f"ours, {number} mixed", asks(day, number))
    day.peak("ours")
    last = loads(day)[1:]
    for number in last:
        _measure(day, f"ours, {number} of the base alone", asks(day, number, bare=True))
    for number in last:
        _measure(day, f"ours, {number} mixed, drawn", asks(day, number), DRAWN)
    mixer, _ = batch(day)
    if mixer._graphs.fault:
        day.faults.append(f"text: no graphs: {mixer._graphs.fault}")
    with torch.inference_mode():
        for (present, rows, end), graph in mixer._graphs._graphs.items():
            inputs = [(5, end - 2, 0)] * rows
            seconds = day.timed(partial(several, graph, inputs)) / STEPS
            name = f"a step, {rows} rows, {end} places, {len(present)} adapters"
            day.note(name, 1000 * seconds, "ms", f"{rows / seconds:.0f} tokens/s")
    alone = [serve(day, [ask])[0][0] for ask in asks(day, 3)]
    mixed = serve(day, asks(day, 3))[0]
    day.held["answers"] = [row.tokens[row.prompt :] for row in alone]
    same = sum(a.tokens == b.tokens for a, b in zip(alone, mixed, strict=True))
    day.note("answers in bf16 alone that are those in company", same, "of 3")


def several(graph: Any, inputs: list[tuple[int, int, int]]) -> None:
    """Steps, one after the other."""
    for _ in range(STEPS):
        graph(inputs)


def eager(day: Day) -> None:
    """The same kernel by kernel, and whether the tokens are those of the graphs."""
    mixer, _ = batch(day)
    for number in loads(day):
        played = serve(day, asks(day, number))[0]
        mixer._fixed = False
        try:
            _measure(day, f"ours, {number} mixed, without graphs", asks(day, number))
            loose = serve(day, asks(day, number))[0]
        finally:
            mixer._fixed = True
        same = sum(a.tokens == b.tokens for a, b in zip(played, loose, strict=True))
        day.note(f"{number} answers that are the same with graphs", same, f"of {number}")


def _measure(day: Day, name: str, queue: list[Ask], sampling: Sampling | None = None) -> None:
    tokens = sum(ask.new for ask in queue)
    rounds = [serve(day, queue, sampling) for _ in range(1 if day.tiny else 2)]
    seconds = min(taken for _, taken, _ in rounds)
    firsts = rounds[-1][2]
    slowest = f"{seconds:.2f} s, the other round {max(t for _, t, _ in rounds):.2f} s"
    day.note(name, tokens / seconds, "tokens/s", slowest)
    day.note(f"{name}: first token", 1000 * percentile(firsts, 0.5), "ms median")
    if len(firsts) > 1:
        day.note(f"{name}: first token", 1000 * percentile(firsts, 0.95), "ms of 95 %")


def arrivals(day: Day) -> None:
    """First tokens while requests come by chance, so many a second."""
    for rate in RATES:
        queue = asks(day, int(rate * (0.1 if day.tiny else LOAD_SECONDS)) or 1, seed=rate)
        _, seconds, firsts = serve(day, queue, rate=rate)
        told = f"{sum(a.new for a in queue) / seconds:.0f} tokens/s, {len(queue)} requests"
        day.note(
            f"{rate} requests/s: first token", 1000 * percentile(firsts, 0.5), "ms median", told
        )
        day.note(f"{rate} requests/s: first token", 1000 * percentile(firsts, 0.95), "ms of 95 %")


def profile(day: Day) -> None:
    """Kernels in a decode step, and how much of its time the device works."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as watched

    from tests.benchmarks.decode_profile import step

    mixer, _ = batch(day)
    activities = [ProfilerActivity.CPU]
    if day.device == "cuda":
        activities.append(ProfilerActivity.CUDA)
    for rows, experts in ((1, 1), (loads(day)[1], 0), (loads(day)[1], 3), (loads(day)[2], 3)):
        name = f"{rows} rows, {experts} adapters"
        steps = 1 if day.tiny else 10

        def several(rows: int = rows, experts: int = experts, steps: int = steps) -> None:
            for _ in range(steps):
                step(mixer, rows, experts)

        seconds = day.timed(several) / steps
        with watched(activities=activities) as seen:
            several()
            day.sync()
        kernels: dict[str, list[float]] = {}
        for event in seen.events():
            kind = str(getattr(event, "device_type", ""))
            if day.device == "cpu" or "CUDA" in kind:
                kernels.setdefault(event.name, []).append(_micros(event))
        count = sum(map(len, kernels.values())) / steps
        busy = sum(map(sum, kernels.values())) / steps / 1e6
        day.note(f"{name}: a step", 1000 * seconds, "ms", f"{count:.0f} kernels")
        day.note(
            f"{name}: the device works", 100 * busy / seconds, "% of it", f"{1e3 * busy:.2f} ms"
        )
        for kernel, taken in sorted(kernels.items(), key=lambda item: -sum(item[1]))[:6]:
            share = 100 * sum(taken) / steps / 1e6 / seconds
            day.note(f"{name}: {kernel[:40]}", share, "% of it", f"{len(taken) / steps:.0f} times")
    for rows in loads(day):
        _beside(day, rows)


def _beside(day: Day, number: int) -> None:
    """What a step costs beside its forward: tokens chosen, text made of them."""
    import torch

    mixer, tokenizer = batch(day)
    rows = [a_row(ask, tokenizer, mixer) for ask in asks(day, number)]
    for row in rows:
        row.tokens += row.tokens  # some answer is there already
    logits = torch.randn(number, mixer.decoder.config.vocab_size, device=day.device)

    def chosen() -> list[int | None]:
        return choose(logits.clone(), [row.draw() for row in rows])

    tokens = chosen()
    day.note(f"{number} rows: tokens chosen", 1000 * day.timed(chosen, 5), "ms a step")
    seconds = day.timed(lambda: [r.add(t or 5) for r, t in zip(rows, tokens, strict=True)], 5)
    day.note(f"{number} rows: text and events", 1000 * seconds, "ms a step")
    for row in rows:
        row.job = replace(row.job, sampling=DRAWN)
    day.note(f"{number} rows: tokens drawn", 1000 * day.timed(chosen, 5), "ms a step")


def _micros(event: Any) -> float:
    range_ = event.time_range
    return float(range_.end - range_.start)
