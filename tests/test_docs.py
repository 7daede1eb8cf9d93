"""The README's and the docs' shell lines, typed as they stand, on a data folder of the test's own."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from forked import programs
from study_exports import lines
from typer.core import TyperGroup

from bot.cli.app import COMMANDS, app
from bot.settings import PlatformSettings
from engine.settings import SECRETS, Settings

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

# What cannot be typed here, and what is typed or looked at in its place
INSTEAD = {
    "make chat": "",  # make itself: test_make_takes_another_python
    "make test": "",
    "source .venv/bin/activate": "",  # PATH has the program already
    ".venv/bin/pip install -c constraints.txt -e '.[study]'": "",  # installed, or this could not run
    # Tokens, a database and a folder that exist: the options are known (test_every_command_parses);
    # serve, worker and status run in test_serve, test_fleet, test_media
    "export DISCORD_TOKEN=... TELEGRAM_TOKEN=...": "",
    "export PASTICHE_DATABASE_URL=postgresql+psycopg://pastiche@db.example.org/pastiche": "",
    "export PASTICHE_MEDIA_FOLDER=/mnt/pastiche/pictures": "",
    "export PASTICHE_KEY_FILE=~/pastiche.key": "",
    "pastiche serve": "",
    "CUDA_VISIBLE_DEVICES=1 pastiche worker --media image": "",
}
IN_STUDY = {
    # its own first participant, as the page says
    "pastiche serve": r"printf '/story It rained.\n/consent\n/1\n/1\n/1\n/1\n/1\n/story It snowed.\n'"
    " | pastiche chat",
    # R need not be there
    "Rscript pilot-1/analysis.R": "Rscript pilot-1/analysis.R" if shutil.which("Rscript") else "",
    # One person is no group of k: it says so, and writes nothing
    "pastiche study export --study pilot --out pilot-1-public --form public": "! pastiche study "
    "export --study pilot --out pilot-1-public --form public; ! [ -e pilot-1-public ]",
}
WALK = "export PASTICHE_HOME=~/walk-data"
SMALLER = {"--n 40": "--n 8"}  # made-up people


def blocks(page: Path) -> list[str]:
    """What is marked as shell, with its comments gone and its long lines joined."""
    found = re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    return [re.sub(r"\\\n\s*", "", re.sub(r"(^|\s+)# .*", "", block)) for block in found]


def to_type(page: Path, instead: dict[str, str]) -> str:
    """All of a page's lines, but for those that cannot be typed here."""
    lines = "\n".join(blocks(page)).splitlines()
    for old, new in SMALLER.items():
        lines = [line.replace(old, new) for line in lines]
    return "\n".join(instead.get(line, line) for line in lines)


def type_lines(lines: str, cwd: Path, **env: str) -> str:
    """What bash says to them; it stops at the first that fails."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", lines],
        cwd=cwd,
        env=os.environ | env | {"PATH": f"{programs()}:{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=250,
        check=False,
    )
    told = done.stdout.decode()
    assert done.returncode == 0, told
    return told


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Where a reader stands, with what their lines name."""
    made = tmp_path / "clone"
    made.mkdir()
    (made / "docs").symlink_to(ROOT / "docs")
    shutil.copytree(ROOT / "engine/experts/lovecraft/adapter", made / "my-adapter")
    return made


def test_the_lines_of_the_readme_work_as_typed(clone: Path) -> None:
    told = type_lines(to_type(ROOT / "README.md", INSTEAD), clone)
    for words in (
        "The vicar coughed.",
        '"mark": "AI-generated"',
        "It was on a dreary night of November.",
    ):
        assert words in told
    assert len(list((clone / "rings").glob("*.png"))) == 2
    assert "interactions 0" not in told
    assert (clone / "report.html").exists() and (clone / "pilot-1/interactions.csv").exists()


def without_r(lines: str) -> str:
    """Leave R's lines out where there is no R."""
    here = shutil.which("Rscript") is not None
    return "\n".join(line for line in lines.splitlines() if here or "Rscript" not in line)


def test_the_ten_steps_of_a_study_work_as_typed(clone: Path, settings: Settings) -> None:
    steps = to_type(ROOT / "docs/study.md", INSTEAD | IN_STUDY).partition(WALK)[0]
    told = type_lines(without_r(steps), clone, HOME=str(clone))
    assert "The study pilot is open" in told
    assert "is destroyed" in told


def test_the_question_is_walked_from_plan_to_analysis_with_stories_and_pictures(
    clone: Path, settings: Settings
) -> None:
    (clone / "tests").symlink_to(ROOT / "tests")
    walk = WALK + to_type(ROOT / "docs/study.md", {}).partition(WALK)[2]
    walk = walk.replace("python -m", f"{sys.executable} -m")
    type_lines(without_r(walk), clone, HOME=str(clone))
    trials = [row for row in lines(clone / "walk-1/trials.jsonl") if row["scored"]]
    steps = {row["step"] for row in trials if row["preferred"]}
    assert steps == {"stories", "pieces"} and any(row["kind"] == "guess" for row in trials)
    analysis = [sys.executable, "walk-1/analysis.py"]
    found = subprocess.run(analysis, cwd=clone, capture_output=True, text=True, check=True).stdout
    assert re.search(r"^preferred +expert: adapter over base", found, re.MULTILINE)
    assert re.search(r"^d prime +expert: all", found, re.MULTILINE)
    assert list((clone / "walk-data/studies/walk/stimuli").glob("*.png"))


def commands(page: Path) -> list[list[str]]:
    """The words of every `pastiche ...` in a page, in its blocks and in its sentences."""
    found = re.findall(r"^```(?:sh)?\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    text = re.sub(r"\\\n\s*", "", "\n".join(found))
    lines = re.findall(r"^(?:\w+=\S+ )*pastiche (.*)", text, re.MULTILINE)
    lines += re.findall(r"`(?:\w+=\S+ )*pastiche ([^`\n.]+)`", page.read_text())
    return [shlex.split(line.partition(" <")[0], comments=True) for line in lines]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_parses(page: Path) -> None:
    for words in commands(page):
        command = typer.main.get_command(app)
        while isinstance(command, TyperGroup) and words and not words[0].startswith("-"):
            _, command, words = command.resolve_command(typer.Context(command), words)
        if words or not isinstance(command, TyperGroup):
            try:
                command.make_context("pastiche", words)
            except typer.BadParameter as error:  # a sentence may name a command without all of it
                assert type(error).__name__ == "MissingParameter", error


def test_every_setting_is_listed_with_its_default() -> None:
    page = (ROOT / "docs/operations.md").read_text().partition("## All settings")[2]
    rows = re.findall(r"^\| (`.+?) \| \S", page, re.MULTILINE)
    listed = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert Settings.model_fields.keys() - listed == {"home", *SECRETS}  # which its sentences name
    ours = PlatformSettings.model_fields.items()
    assert {str(field.validation_alias or name.upper()) for name, field in ours} <= listed


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_listed_as_its_own_help_begins(name: str) -> None:
    group = typer.main.get_command(app)
    context = typer.Context(group)
    _, command, _ = group.resolve_command(context, [name])
    assert command.help.partition("\n\n")[0].split() == COMMANDS[name][1].split()


@pytest.mark.parametrize("name", ["README.md", "docs/study.md"])
def test_no_line_hides_in_a_block_that_is_not_typed(name: str) -> None:
    other = re.sub(r"^```sh\n.*?^```", "", (ROOT / name).read_text(), flags=re.M | re.S)
    assert not re.findall(r"^(?:pastiche|make) .*", other, re.MULTILINE)


@pytest.mark.parametrize("name", ["README.md", "docs/study.md"])
def test_what_needs_the_studys_extra_is_typed_after_it_is_installed(name: str) -> None:
    before, installed, _ = "\n".join(blocks(ROOT / name)).partition("-e '.[study]'")
    assert installed and not re.search(r"pastiche study (report|export)|\.parquet", before)


def test_make_takes_another_python_when_it_is_asked_to(tmp_path: Path) -> None:
    for name in ("pyproject.toml", "constraints.txt", "Makefile"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / ".venv/bin").mkdir(parents=True)
    for name in ("other", ".venv/bin/python"):
        (tmp_path / name).write_text(f"#!/bin/sh\necho {name}\n")
        (tmp_path / name).chmod(0o700)
    (tmp_path / ".venv/ready").touch()

    def make(*words: str) -> str:
        alone = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
        words = ("make", "-n", *words, "chat")
        return subprocess.check_output(words, cwd=tmp_path, text=True, env=alone)

    assert make() == make("PYTHON=.venv/bin/python") == ".venv/bin/pastiche chat\n"
    assert "./other -m venv --clear .venv" in make("PYTHON=./other")


def test_every_test_that_is_promised_exists() -> None:
    named = set(re.findall(r"\btest_\w+", (ROOT / "docs/promises.md").read_text()))
    files = list((ROOT / "tests").glob("test_*.py"))
    known = [path.stem for path in files]
    known += [name for path in files for name in re.findall(r"def (test_\w+)", path.read_text())]
    assert [name for name in named if not any(each.startswith(name) for each in known)] == []


def test_the_picture_of_the_layers_is_todays() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "docs" / "architecture.py", "--check"],
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr
