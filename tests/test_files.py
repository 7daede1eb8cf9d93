"""Files and folders are whole or not there, and what a kill has left aside is swept."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.files import append, restore, whole_file, whole_folder, write_file, write_json


@pytest.mark.parametrize("private", [False, True])
def test_a_file_that_could_not_be_written_leaves_the_old_one(tmp_path: Path, private: bool) -> None:
    path = tmp_path / "new folder" / "file [1]"
    write_file(path, "old", private=private)
    with pytest.raises(OSError, match="full"), whole_file(path, private=private) as part:
        part.write_text("half")
        raise OSError("disk full")
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


def test_a_private_file_is_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch(mode=0o644)
    write_json(path, {"b": 1, "a": "è"}, private=True)
    append(path, "line\n", private=True)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text(encoding="utf-8") == '{\n  "a": "è",\n  "b": 1\n}\nline\n'


def test_a_folder_must_not_replace_one_that_came_meanwhile(tmp_path: Path) -> None:
    with pytest.raises(FileExistsError), whole_folder(tmp_path / "out", replace=False) as mine:
        (mine / "file").write_text("mine")
        write_file(tmp_path / "out" / "file", "theirs")
    assert (tmp_path / "out" / "file").read_text() == "theirs"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("private", [False, True])
def test_a_folder_takes_the_place_of_an_older_one(tmp_path: Path, private: bool) -> None:
    for name in ("old", "new"):
        with whole_folder(tmp_path / "out", private=private) as part:
            (part / "inner").mkdir()
            (part / "inner" / name).touch()
            (part / "nowhere").symlink_to("gone")
    assert [path.name for path in (tmp_path / "out" / "inner").iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_kill_between_the_renames_is_mended(tmp_path: Path) -> None:
    write_file(tmp_path / ".out.old" / "file", "old")
    restore(tmp_path / "out", private=True)
    assert (tmp_path / "out" / "file").read_text() == "old"


def test_what_killed_processes_left_aside_is_swept(tmp_path: Path) -> None:
    program = (
        "import os; from pathlib import Path; from engine.files import whole_file\n"
        f"with whole_file(Path({str(tmp_path / 'file')!r}), private=True): os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    mine = tmp_path / f".file.{os.getpid()}.1.part"
    mine.touch()
    assert len(list(tmp_path.iterdir())) == 2
    write_file(tmp_path / "file", "whole", private=True)
    assert sorted(tmp_path.iterdir()) == [mine, tmp_path / "file"]
