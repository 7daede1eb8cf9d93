"""Where an answer grows: a live last line, or plain text in a pipe."""

import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.control import strip_control_codes
from rich.text import Text as Line

from bot.locales import words
from bot.messages import wording
from bot.messages.draft import Draft

if TYPE_CHECKING:
    from rich.live import Live

REFRESH = 12  # a second
NARROW = 24  # characters; a column of words has at least so many


class PipedAnswer:
    """Write a text to a stream as it grows; a rerun says the same words again."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write
        self._shown = ""

    def show(self, draft: Draft) -> None:
        if draft.text.startswith(self._shown):
            self._write(draft.text[len(self._shown) :])
            self._shown = draft.text
        elif draft.final is not None and not self._shown.startswith(draft.text):
            self._write(f"\n\n{draft.text}")
            self._shown = draft.text


class TerminalAnswer:
    """Print finished lines; redraw the last one and a spinner below them."""

    def __init__(self, console: Console, live: "Live", locale: str = "en") -> None:
        self._console = console
        self._locale = locale
        self._live = live
        self._printed = ""  # the part of the text that stands in finished lines

    def show(self, draft: Draft) -> None:
        # what rich leaves out of a line, or makes wider, would be looked for in vain
        draft = replace(draft, text=strip_control_codes(draft.text).expandtabs())
        if not draft.text.startswith(self._printed):
            if draft.final is None and self._printed.startswith(draft.text):
                self._draw("", draft)  # a rerun, not yet as far as the run before it
                return
            self._live.console.print(f"({words('terminal.once_more', self._locale)})", style="dim")
            self._printed = ""
        lines = self._lines(draft.text[len(self._printed) :])
        keep = 0 if draft.final is not None else 1
        for line in lines[: len(lines) - keep]:
            self._live.console.print(Line(line.rstrip()), soft_wrap=True)
            self._printed += line
        self._draw("" if not keep or not lines else lines[-1], draft)

    def _lines(self, text: str) -> list[str]:
        """Break the text into lines of the console's width, each with the space that ends it."""
        lines: list[str] = []
        for paragraph in text.splitlines(keepends=True):
            place = 0
            for line in Line(paragraph.rstrip("\n")).wrap(self._console, self._console.width):
                start = place
                place = paragraph.index(line.plain.strip(), place) + len(line.plain.strip())
                while place < len(paragraph) and paragraph[place].isspace():
                    place += 1
                lines.append(paragraph[start:place])
        return lines

    def _draw(self, last: str, draft: Draft) -> None:
        if draft.final is not None:
            self._live.update(Line(""))
            return
        from rich.spinner import Spinner

        told = wording.progress(draft, self._locale)
        above: list[RenderableType] = []
        if draft.tokens:
            key = "terminal.token" if draft.tokens == 1 else "terminal.tokens"
            told = f"{told}, {words(key, self._locale, count=draft.tokens)}"
        spinner = Spinner(
            "dots", Line(f"{told}   {words('terminal.stop_it', self._locale)}", style="dim")
        )
        if last.strip():
            above.append(Line(last.rstrip()))
        self._live.update(Group(*above, spinner))


@contextmanager
def page_for(console: Console, locale: str = "en") -> Iterator[PipedAnswer | TerminalAnswer]:
    if not console.is_terminal:
        yield PipedAnswer(lambda text: (console.file.write(text), console.file.flush()))
        return
    from rich.live import Live  # not for a pipe

    with Live(console=console, refresh_per_second=REFRESH, transient=True) as live:
        yield TerminalAnswer(console, live, locale)


def say(console: Console, text: str, style: str = "") -> None:
    """Print plain words: wrapped for a terminal, in whole lines for a pipe."""
    whole = not console.is_terminal
    if not whole:
        text = "\n".join(_fitted(line, console.width) for line in text.split("\n"))
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=whole)


def _fitted(line: str, width: int) -> str:
    """Wrap a command and what it does as two columns, or one below the other where that is narrow.

    >>> print(_fitted("/mydata      all that I keep about you, as a file", 30))
    /mydata
        all that I keep about you,
        as a file
    """
    told, gap, about = line.lstrip().partition("  ")
    if not gap or not told.startswith(("/", "--", "Ctrl")):
        return line
    about = about.lstrip()
    column = len(line) - len(about)
    if width - column < NARROW:
        return f"{line[:column].rstrip()}\n{_filled(about, width, ' ' * 4, 4)}"
    return line if len(line) <= width else _filled(about, width, line[:column], column)


def _filled(about: str, width: int, head: str, column: int) -> str:
    indent = " " * column
    return textwrap.fill(about, max(width, NARROW), initial_indent=head, subsequent_indent=indent)
