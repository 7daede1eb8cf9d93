"""A folder of texts is read as it is, and what cannot be read is told by name."""

import json
from pathlib import Path

import pytest

from training.errors import BadCorpus
from training.sources.text_folder import FolderSource
from training.text.data.works import Work


def read(folder: Path, *files: str) -> list[Work]:
    return list(FolderSource(folder, "an edition", "CC0", files).works())


def test_a_text_file_is_a_work_and_a_line_is_an_article(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("The Title\n\nOne.\n\nTwo.\n")
    row = {"id": "n1", "title": "Head", "text": "Body.", "spelling": "british"}
    (tmp_path / "b.jsonl").write_text(json.dumps(row) + "\n\n")
    story, article = read(tmp_path)
    assert (story.id, story.title, story.licence) == ("a", "The Title", "CC0")
    assert article.paragraphs == ("Head", "Body.")
    assert article.marks == {"spelling": "british"}


def test_only_the_named_files_are_read(tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt", "notes.md"):
        (tmp_path / name).write_text("Words.")
    assert [work.id for work in read(tmp_path, "b*")] == ["b"]
    assert len(read(tmp_path)) == 2


def test_another_encoding_is_told_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "old.txt").write_bytes("caf\xe9".encode("latin-1"))
    with pytest.raises(BadCorpus, match=r"old\.txt, line 1: not UTF-8.*iconv"):
        read(tmp_path)


def test_a_binary_file_is_not_taken_for_text(tmp_path: Path) -> None:
    (tmp_path / "picture.txt").write_bytes(b"\x00\x01\x02")
    with pytest.raises(BadCorpus, match="not a text file"):
        read(tmp_path)


@pytest.mark.parametrize("line", ['{"text": "cut sho', "[1]", '{"title": "no text"}'])
def test_a_line_cut_short_is_told_by_number(tmp_path: Path, line: str) -> None:
    (tmp_path / "n.jsonl").write_text('{"text": "whole"}\n' + line)
    with pytest.raises(BadCorpus, match=r"n\.jsonl, line 2"):
        read(tmp_path)
