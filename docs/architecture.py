"""Draw docs/architecture.svg from the code: the packages in layers, and the way of a request through them.

A package lies above all that it imports, in functions and for types too, so every import points down.
The way is a list of functions, each of which must be there. `--check` fails where the picture is not
today's code's. No dependency; run it from the checkout's root: python docs/architecture.py
"""

import ast
import sys
from collections import Counter
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from tests.benchmarks.house import Module, circles, imports, read  # noqa: E402

PICTURE, PAGE = Path(__file__).with_suffix(".svg"), Path(__file__).with_suffix(".md")
BEGIN, END = "<!-- way -->", "<!-- /way -->"
LEFT_OUT = {"bot", "engine", "bot.locales"}  # packages' own files and words
WAY = (
    (
        "bot.discord_client.handlers:Handlers.command",
        "an event becomes a command; the platform is told that an answer comes",
    ),
    (
        "bot.service.service:ChatService.say",
        "finds who answers, after the rate of one person's requests",
    ),
    (
        "bot.service.admission:admit",
        "who may, here and now: blocks, settings, consent that is asked for",
    ),
    ("bot.service.answer:generate", "the stages of an answer, in order"),
    ("engine.engine:LocalEngine.plan", "once: route, expert, job"),
    ("engine.plan.router:route", "the rule that chooses the expert"),
    ("engine.plan.prompt:assemble", "instruction, request and beginning in the expert's template"),
    ("bot.service.admission:take", "what it costs, given back if our side fails"),
    ("bot.service.moderation:Moderation.admit", "the chain of checks on what was typed"),
    ("engine.engine:LocalEngine.ask", "accepts the plan"),
    (
        "engine.ledger.ledger:Ledger.accept",
        "one transaction: request, route, job; observers are told",
    ),
    ("engine.queues.embedded:EmbeddedQueue.accept", "into the queue"),
    ("engine.queues.dispatcher:Dispatcher.dispatch", "whose turn it is, and which worker is free"),
    ("engine.workers.worker:_run", "the medium's process"),
    (
        "engine.backends.text:TextBackend.generate",
        "joins the batch with its own adapter, leaves it with its last token",
    ),
    ("engine.queues.embedded:EmbeddedQueue.follow", "events, as they come"),
    ("bot.service.moderation:Screening.shown", "the answer is judged while it grows"),
    (
        "bot.clients.live_answer:LiveAnswer.follow",
        "shown and edited at the platform's pace, its delivery noted",
    ),
)

WIDTH, HEIGHT, GAP, ROW, MARGIN = 176, 44, 14, 62, 20  # pixels
COLOURS = {"bot": "#dbe9f6", "training": "#e6f0da", "engine": "#f6ead5", "engine.study": "#f3dbe4"}


def room(name: str) -> str:
    """The package of a module within bot or engine, where a root file stands for itself; or training.

    >>> room("engine.queues.postgres.claims"), room("bot.settings")
    ('engine.queues', 'bot.settings')
    """
    return name.split(".")[0] if name.startswith("training") else ".".join(name.split(".")[:2])


def layers(modules: dict[str, Module]) -> dict[str, int]:
    """Each package's layer, 0 at the bottom. Raises ValueError for packages in a circle."""
    graph: dict[str, set[str]] = {room(name): set() for name in modules}
    for name, module in modules.items():
        graph[room(name)] |= {room(o) for o in imports(module, modules, all_=True)} - {room(name)}
    found: dict[str, int] = {}
    for circle in circles(graph):
        if len(circle) > 1:
            raise ValueError(f"packages that import each other: {', '.join(sorted(circle))}")
        found[circle[0]] = 1 + max((found[o] for o in graph[circle[0]]), default=-1)
    return found


def check_way(modules: dict[str, Module]) -> list[str]:
    """The packages on a request's way. Raises ValueError for a function that is not there."""
    for place, _ in WAY:
        name, _, function = place.partition(":")
        defined = {
            ".".join(path)
            for path in _definitions(modules[name].tree.body if name in modules else [])
        }
        if function not in defined:
            raise ValueError(f"{place} is on the way of a request, but is not there")
    return [room(place.partition(":")[0]) for place, _ in WAY]


def _definitions(body: list[ast.stmt], above: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = []
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found.append((*above, node.name))
            if isinstance(node, ast.ClassDef):
                found += _definitions(node.body, (*above, node.name))
    return found


def draw(modules: dict[str, Module]) -> str:
    """The picture as SVG."""
    files = Counter(map(room, modules))
    levels = {
        name: level
        for name, level in layers(modules).items()
        if name not in LEFT_OUT and (level or files[name] > 1)  # small files at the bottom
    }
    rows: dict[int, list[str]] = {}
    for name in sorted(levels):
        rows.setdefault(_row(name, levels), []).append(name)
    heights = sorted(rows, reverse=True)
    widest = max(map(len, rows.values()))
    width = 2 * MARGIN + widest * (WIDTH + GAP) - GAP
    where = {}
    for y, level in enumerate(heights):
        indent = (width - len(rows[level]) * (WIDTH + GAP) + GAP) / 2
        for x, name in enumerate(rows[level]):
            where[name] = (round(indent + x * (WIDTH + GAP)), MARGIN + y * ROW)
    boxes = [_box(name, files[name], *where[name]) for name in sorted(where)]
    way = _line([where[name] for name in check_way(modules)])
    height = 2 * MARGIN + len(heights) * ROW - ROW + HEIGHT
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            'font-family="sans-serif" font-size="12">',
            f'<rect width="{width}" height="{height}" fill="white"/>',
            *boxes,
            *way,
            "</svg>\n",
        ]
    )


def _row(name: str, levels: dict[str, int]) -> int:
    """A layer's row: engine's own below, bot's and training's above it."""
    top = max(level for other, level in levels.items() if other.startswith("engine"))
    if name.startswith("engine"):
        return levels[name]
    below = min(level for other, level in levels.items() if other.split(".")[0] == "bot")
    return top + 1 + max(0, levels[name] - below)


def _box(name: str, files: int, x: int, y: int) -> str:
    colour = COLOURS.get(name, COLOURS[name.split(".")[0]])
    count = f"{files} files" if files > 1 else "1 file"
    return (
        f'<g><rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="5" fill="{colour}" stroke="#888"/>'
        f'<text x="{x + 8}" y="{y + 19}" font-weight="bold">{escape(name)}</text>'
        f'<text x="{x + 8}" y="{y + 35}" fill="#555">{count}</text></g>'
    )


def _line(stops: list[tuple[int, int]]) -> list[str]:
    """Numbered stops, each a little aside of those before it in the same box."""
    seen: dict[tuple[int, int], int] = {}
    points = []
    for stop in stops:
        seen[stop] = seen.get(stop, 0) + 1
        points.append((stop[0] + WIDTH - 22 * seen[stop] + 8, stop[1] + 31))
    line = " ".join(f"{x},{y}" for x, y in points)
    found = [f'<polyline points="{line}" fill="none" stroke="#b03030" stroke-opacity=".5"/>']
    for number, (x, y) in enumerate(points, 1):
        found.append(
            f'<circle cx="{x}" cy="{y}" r="9" fill="#b03030"/>'
            f'<text x="{x}" y="{y + 4}" text-anchor="middle" fill="white">{number}</text>'
        )
    return found if stops else []


def page(modules: dict[str, Module]) -> str:
    """The page, its table of the way written anew."""
    check_way(modules)
    rows = "\n".join(
        f"| {number} | `{place.replace(':', '.')}` | {words} |"
        for number, (place, words) in enumerate(WAY, 1)
    )
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    return f"{before}{BEGIN}\n| | function | |\n| --- | --- | --- |\n{rows}\n{END}{after}"


def main() -> None:
    """Write the picture and the table, or check them."""
    modules = read(ROOT)
    for path, text in ((PICTURE, draw(modules)), (PAGE, page(modules))):
        if "--check" not in sys.argv:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            sys.exit(f"{path.name} is not today's code's: run python docs/architecture.py")


if __name__ == "__main__":
    main()
