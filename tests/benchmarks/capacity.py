"""From one laptop to ten million requests a day: how many workers, how long the wait, what it costs.

`python -m tests.benchmarks.capacity --a-day 20000 --text-tokens 400` asks for one load of your own;
`python -m tests.benchmarks capacity` gives the table of docs/capacity.md.
"""

import argparse
import math
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.benchmarks.capacity_model import (
    DAY,
    Load,
    Painter,
    Waits,
    Writer,
    fewest,
    simulate_pictures,
    simulate_texts,
)
from tests.benchmarks.figures import Figure, clock, percentile

TEXT_WAIT = 5.0  # seconds that 95 % of the texts may wait at most, in the busiest hour
PICTURE_WAIT = 30.0
BUSY = (
    0.85  # of a worker's time at most: the rest is for bursts, and for one that is being restarted
)
REQUESTS = 30_000  # simulated for each answer
TRANSACTIONS = 36  # a request, reads included: measured by database_cost on PostgreSQL
LOG_KB = 15.2  # a request: likewise, the write-ahead log
ROW_KB = 10.7  # a request: likewise, what stays until its words are blanked
PICTURE_KB = 1_600.0  # a sealed PNG of 1,024 pixels, about; the embedded base's of 192 has 70
KEPT_DAYS = 3  # words and pictures; rows without them stay
LOADS = (100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000)

LAPTOP = Writer(
    name="a core, embedded base",
    points=((1, 26.7), (2, 57.1), (4, 83.6), (8, 125.0), (16, 162.0)),
    hourly=0.0,
    source="measured: mixed_experts, one thread, bf16, SmolLM2-135M",
)
A100_TEXT = Writer(
    name="A100, vLLM",
    points=((1, 100.0), (256, 2578.0)),
    hourly=1.39,
    source="cited: vLLM pull request 11613, Llama-2-7b with LoRA, 2,578 output tokens/s; a 2b base "
    "is faster. One alone: an estimate from the memory's bandwidth",
)
LAPTOP_PICTURE = Painter(
    name="a core, embedded base",
    seconds=1.5,
    hourly=0.0,
    source="measured: images, 192 px, 25 guided steps, one thread",
)
A100_PICTURE = Painter(
    name="A100, SDXL",
    seconds=3.31,
    hourly=1.39,
    source="cited: diffusers' fast_diffusion, 30 steps, 1024 px, bf16 with SDPA",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a load needs; waits in seconds in the busiest hour, money a 1,000 requests."""

    load: Load
    writers: int
    painters: int
    text: Waits
    pictures: Waits
    cost: float

    @property
    def platform_calls(self) -> float:
        """Sends and edits a second: one when accepted, one a second of writing, one at the end."""
        whole = self.text.whole
        busy = sum(whole) / len(whole)
        return self.load.rate * (2 + (1 - self.load.pictures) * busy)

    @property
    def kept_gb(self) -> float:
        """Words and pictures at any time."""
        a_request = ROW_KB + self.load.pictures * PICTURE_KB
        return self.load.a_day * KEPT_DAYS * a_request / 1e6

    @property
    def notifies(self) -> float:
        """Progress events a second: ten while a text is written, one for each picture's preview."""
        text = self.text
        busy = sum(w - q for q, w in zip(text.queue, text.whole, strict=False)) / len(text.whole)
        return self.load.rate * ((1 - self.load.pictures) * busy * 10 + self.load.pictures * 5)


def plan(load: Load, writer: Writer, painter: Painter, requests: int = REQUESTS) -> Plan:
    """The fewest workers that keep both waits."""
    texts = load.rate * (1 - load.pictures) * load.tokens / writer.points[-1][1]
    drawn = load.rate * load.pictures * painter.seconds

    def written(count: int) -> Waits:
        return simulate_texts(load, writer, count, requests=requests)

    def painted(count: int) -> Waits:
        return simulate_pictures(load, painter, count, requests=requests)

    writers = fewest(
        max(1, math.ceil(texts / BUSY)), lambda n: percentile(written(n).queue, 0.95) <= TEXT_WAIT
    )
    painters = fewest(
        max(1, math.ceil(drawn / BUSY)),
        lambda n: percentile(painted(n).queue, 0.95) <= PICTURE_WAIT,
    )
    hourly = writers * writer.hourly + painters * painter.hourly
    return Plan(
        load=load,
        writers=writers,
        painters=painters,
        text=written(writers),
        pictures=painted(painters),
        cost=1000 * hourly * 24 / load.a_day,
    )


def _short(value: float) -> str:
    return f"{value:.3g}" if value < 100 else f"{value:,.0f}"


def show(plans: list[tuple[str, Plan]]) -> Table:
    """The table of docs/capacity.md."""
    table = Table("requests a day", "peak a second", "on", "text workers", "picture workers",
                  "text wait p50 / p95", "whole p95", "picture wait p50 / p95", "NOTIFY/s",
                  "transactions/s", "log MB/s", "kept", "platform calls/s", "a 1,000")  # fmt: skip
    for name, made in plans:
        text, pictures = made.text.queue, made.pictures.queue
        table.add_row(
            f"{made.load.a_day:,.0f}",
            f"{made.load.rate:.3g}",
            name,
            str(made.writers),
            str(made.painters),
            f"{percentile(text, 0.5):.1f} / {percentile(text, 0.95):.1f} s",
            f"{percentile(made.text.whole, 0.95):.1f} s",
            f"{percentile(pictures, 0.5):.1f} / {percentile(pictures, 0.95):.1f} s",
            _short(made.notifies),
            _short(made.load.rate * TRANSACTIONS),
            f"{made.load.rate * LOG_KB / 1e3:.2g}",
            f"{made.kept_gb:,.1f} GB",
            _short(made.platform_calls),
            f"${made.cost:.2f}" if made.cost else "-",
        )
    return table


def machines(a_day: float) -> tuple[str, Writer, Painter]:
    """Laptops' cores while one or two do; GPUs from there on."""
    if a_day <= LOADS[1]:
        return "laptop", LAPTOP, LAPTOP_PICTURE
    return "A100s", A100_TEXT, A100_PICTURE


def run(_folder: Path) -> list[Figure]:
    """Workers for each load, as figures; the table itself is printed."""
    figures, plans = [], []
    for a_day in LOADS:
        name, writer, painter = machines(a_day)
        with clock() as taken:
            made = plan(Load(a_day=a_day), writer, painter)
        plans.append((name, made))
        figures.append(
            Figure(
                name=f"{a_day:,} requests a day: workers",
                value=made.writers + made.painters,
                unit=name,
                against=f"p95 waits at most {TEXT_WAIT:.0f} and {PICTURE_WAIT:.0f} s",
                wall_seconds=taken.wall,
                cpu_seconds=taken.cpu,
            )
        )
    Console(width=200).print(show(plans))
    return figures


def main() -> None:
    """One load of your own."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.capacity", description=__doc__
    )
    parser.add_argument("--a-day", type=float, required=True, help="requests a day")
    parser.add_argument("--pictures", type=float, default=0.2, help="their share, 0 to 1")
    parser.add_argument("--text-tokens", type=float, default=250.0, help="mean length of an answer")
    parser.add_argument(
        "--peak", type=float, default=0.075, help="the busiest hour's share of a day"
    )
    parser.add_argument("--tokens-a-second", type=float, help="of one text worker, all slots busy")
    parser.add_argument("--slots", type=int, default=256, help="texts at once on such a worker")
    parser.add_argument("--picture-seconds", type=float, help="of one picture worker")
    parser.add_argument("--hourly", type=float, default=1.39, help="price of a worker's hour")
    given = parser.parse_args()
    if not (
        given.a_day > 0 and 0 < given.pictures < 1 and given.text_tokens >= 1 and given.slots > 0
    ):
        parser.error(
            "a load needs requests, a share of pictures between 0 and 1, and words to write"
        )
    load = Load(
        a_day=given.a_day, pictures=given.pictures, tokens=given.text_tokens, peak=given.peak
    )
    name, writer, painter = machines(given.a_day)
    if given.tokens_a_second:
        points = ((given.slots, given.tokens_a_second),)
        writer = Writer(name="yours", points=points, hourly=given.hourly, source="yours")
    if given.picture_seconds:
        painter = Painter(
            name="yours", seconds=given.picture_seconds, hourly=given.hourly, source="yours"
        )
    Console().print(show([(name, plan(load, writer, painter))]))
    Console().print(f"texts: {writer.source}\npictures: {painter.source}", style="dim")
    Console().print(f"A day has {load.a_day / DAY:.3g} requests a second on average.", style="dim")


if __name__ == "__main__":
    main()
