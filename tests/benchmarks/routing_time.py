"""How long the router takes for the report's own request, and for a long one."""

from pathlib import Path

from engine.files import BUILT_IN
from engine.plan.cards import Registry
from engine.plan.router import route
from tests.benchmarks.figures import Figure, clock

TIMES = 20_000
REPORTS = (
    "I want a short mystery story in the style of lovecraft.\nHere is the beginning:\n\n"
    "They sat alone in the darkened room as rain hammered against the old windowpanes."
)


def run(_folder: Path) -> list[Figure]:
    """Microseconds a request, by CPU."""
    registry = Registry.load([BUILT_IN], "embedded")
    figures = []
    for name, text in (
        ("the report's request", REPORTS),
        ("a bare opening", "They sat alone in the darkened room."),
        ("a wish of 2,000 characters", "Write a tale about " + "the sea and the rain, " * 90),
    ):
        times = TIMES if len(text) < 1000 else TIMES // 20
        with clock() as taken:
            for _ in range(times):
                route("story", text, None, registry)
        figures.append(
            Figure(
                name=name,
                value=1e6 * taken.cpu / times,
                unit="µs",
                against="aim 50 µs",
                wall_seconds=taken.wall,
                cpu_seconds=taken.cpu,
            )
        )
    return figures
