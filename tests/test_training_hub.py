"""A data set is read with `datasets`, works joined from rows, changes told."""

import json
from pathlib import Path

import pytest

from training.errors import SourceFault
from training.sources.hub import HubSource
from training.sources.origins import HubOrigin

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    rows = [{"text": f"Row {n}.", "book": "one" if n < 2 else "two"} for n in range(4)]
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def hub(folder: Path, **changes: str) -> HubSource:
    origin = HubOrigin(kind="hub", dataset=str(folder), **changes)  # type: ignore[arg-type]
    return HubSource(origin, "none", cache=folder.parent / "cache")


def test_rows_without_a_work_column_form_one_work(dataset: Path) -> None:
    (work,) = hub(dataset).works()
    assert work.paragraphs == ("Row 0.", "Row 1.", "Row 2.", "Row 3.")


def test_consecutive_rows_of_one_work_are_joined(dataset: Path) -> None:
    assert [work.id for work in hub(dataset, work_column="book").works()] == ["one", "two"]


def test_a_column_that_is_gone_is_told(dataset: Path) -> None:
    with pytest.raises(SourceFault, match=r"no column body.*pin the revision"):
        list(hub(dataset, text_column="body").works())


def test_a_data_set_that_is_not_there_is_told(dataset: Path) -> None:
    with pytest.raises(SourceFault, match="--corpus DIR"):
        list(hub(dataset.parent / "none").works())


def test_a_file_cut_short_is_told(dataset: Path) -> None:
    file = dataset / "train.jsonl"
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(SourceFault, match="cut short must be fetched again"):
        list(hub(dataset).works())
