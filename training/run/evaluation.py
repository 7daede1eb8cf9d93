"""Write down an evaluation: the line that made it, its page, its figures; say what comes next."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.files import write_file, write_json

BY_HAND = "<!-- written by hand from here on -->"


def command_line(
    stage: str,
    recipes: Sequence[Path],
    base: Path | None,
    *options: tuple[str, Any, Any],
    whole: bool = False,
) -> str:
    """Repeat a stage's command: options (name, value, default) not at their defaults.

    Only a `whole` line has whole paths and can be pasted; others go into records.

    >>> sets = [("set", change, None) for change in ("lora.rank=8", "lora.alpha=8")]
    >>> usual = ("samples", 30, 30)
    >>> command_line("evaluate_text", [Path("a/b.toml")], Path("/home/me/gemma"), *sets, usual)
    'python -m training.evaluate_text b.toml --base gemma --set lora.rank=8 --set lora.alpha=8'
    """
    here, python = Path.cwd(), Path(sys.executable)
    short = python.relative_to(here) if python.is_relative_to(here) else python
    words = [str(short) if whole else "python", "-m", f"training.{stage}"]
    words += [str(path) if whole else path.name for path in recipes]
    for name, value, usual in (("base", base, None), *options):
        told = value.name if isinstance(value, Path) and not whole else value
        words += [f"--{name}", str(told)] if value != usual else []
    return shlex.join(words)


def sets_of(changes: Sequence[str] | None) -> list[tuple[str, Any, Any]]:
    return [("set", change, None) for change in changes or ()]


def next_line(
    stage: str,
    recipe: Path,
    base: Path | None,
    runs: Path,
    changes: Sequence[str] | None,
    *options: tuple[str, Any, Any],
) -> str:
    """Say which stage comes next, as a line that can be pasted as it is."""
    given = (("runs", runs, Path("runs")), *sets_of(changes))
    return "Next: " + command_line(stage, [recipe], base, *given, *options, whole=True)


def write_report(folder: Path, page: str, values: dict[str, Any]) -> Path:
    """Write the page (over a README.md, where there is one) and the raw values; what stands below the
    line BY_HAND of the old page stays."""
    write_json(folder / "values.json", values)
    path = next(filter(Path.exists, [folder / "README.md"]), folder / "report.md")
    _, line, kept = (path.read_text(encoding="utf-8") if path.exists() else "").partition(BY_HAND)
    write_file(path, page + line + kept)
    return path


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
