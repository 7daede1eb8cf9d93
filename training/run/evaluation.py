"""Write down an evaluation: the line that made it, its page, its figures."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.files import write_file, write_json


def command_line(
    stage: str, recipes: Sequence[Path], base: Path | None, *options: tuple[str, Any, Any]
) -> str:
    """Repeat a stage's command: options (name, value, default) not at their defaults; no whole path.

    >>> sets = [("set", change, None) for change in ("lora.rank=8", "lora.alpha=8")]
    >>> usual = ("samples", 30, 30)
    >>> command_line("evaluate_text", [Path("a/b.toml")], Path("/home/me/gemma"), *sets, usual)
    'python -m training.evaluate_text b.toml --base gemma --set lora.rank=8 --set lora.alpha=8'
    """
    words = ["python", "-m", f"training.{stage}", *(path.name for path in recipes)]
    for name, value, usual in (("base", base and base.name, None), *options):
        words += [f"--{name}", str(value)] if value != usual else []
    return shlex.join(words)


def write_report(folder: Path, page: str, values: dict[str, Any]) -> Path:
    """Write the page and the raw values."""
    write_json(folder / "values.json", values)
    write_file(folder / "report.md", page)
    return folder / "report.md"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out a Markdown table.

    >>> print(table(["a", "b"], [["1", "2"]]))
    | a | b |
    | --- | --- |
    | 1 | 2 |
    """
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
