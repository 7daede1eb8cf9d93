"""What goes wrong in a harvest: busy servers, broken pictures, a kill, a full disk."""

import gzip
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image
from test_harvest import recipe_file, rows_of, run_of, why
from vam_server import Fault, Museum, Piece, drawing, museum_of

from training.errors import SourceFault, TrainingError
from training.museum.api import SILENT_IN_A_ROW, MuseumClient
from training.museum.downloads import decode
from training.museum.harvester import DATA, JOURNAL
from training.web.http_client import MOST_BYTES, NoAnswer

SIX = tuple(Piece(number) for number in range(1, 7))


def command(path: Path, *words: str) -> list[str]:
    """The harvest as its user runs it."""
    program = (sys.executable, "-m", "training.harvest_vam", str(path), *words)
    return [*program, "--runs", str(path.parent), "--no-watch"]


def pictures_on_disk(folder: Path) -> list[Path]:
    """The finished files."""
    return sorted((folder / "crowns" / DATA / "images").glob("*.jpg"))


def assert_whole(paths: list[Path]) -> None:
    """Every picture decodes to its last row."""
    for path in paths:
        with Image.open(path) as picture:
            picture.load()


def test_a_busy_museum_is_given_the_time_it_asks_for(tmp_path: Path) -> None:
    with museum_of(*SIX[:2]) as museum:
        museum.faults[museum.picture_path(1)] = [Fault(429, {"Retry-After": "1"}), Fault(503)]
        begun = time.monotonic()
        outcome = run_of(tmp_path, museum)
    assert time.monotonic() - begun >= 1.0
    assert len(outcome.rows) == 2 and museum.paths.count(museum.picture_path(1)) == 3


def test_a_museum_that_asks_for_an_hour_is_left_alone(tmp_path: Path) -> None:
    with museum_of(*SIX) as museum:
        museum.faults[museum.picture_path(2)] = [Fault(429, {"Retry-After": "3600"})]
        with pytest.raises(SourceFault, match="wait 60 minutes"):
            run_of(tmp_path, museum)
        assert museum.picture_path(3) not in museum.paths
        assert len(run_of(tmp_path, museum).rows) == 6
        assert museum.paths.count(museum.picture_path(1)) == 1


@pytest.mark.parametrize("status", [400, 404, 422])
def test_a_picture_that_is_not_there_is_noted_and_not_asked_for_again(
    tmp_path: Path, status: int
) -> None:
    with museum_of(*SIX[:3]) as museum:
        museum.faults[museum.picture_path(2)] = [Fault(status)]
        outcome = run_of(tmp_path, museum)
        assert museum.paths.count(museum.picture_path(2)) == 1
    assert why(outcome) == {"O2": f"answered {status}"} and len(outcome.rows) == 2


@pytest.mark.parametrize(
    "fault",
    [
        Fault(302, {"Location": "http://localhost/made-elsewhere.jpg"}),
        Fault(302, {"Location": "ftp://127.0.0.1/x.jpg"}),
        Fault(302, {"Location": "http://[bad"}),
        Fault(200, {"Content-Encoding": "gzip"}, gzip.compress(bytes(MOST_BYTES + 1), 1)),
    ],
    ids=["another host", "another protocol", "no address", "200 kB that unpack to more"],
)
def test_what_comes_from_elsewhere_or_is_too_much_is_that_pictures_fault_alone(
    tmp_path: Path, fault: Fault
) -> None:
    with museum_of(*SIX[:3]) as museum:
        museum.faults[museum.picture_path(2)] = [fault]
        outcome = run_of(tmp_path, museum)
    assert why(outcome).keys() == {"O2"}
    assert len(outcome.rows) == 2


def test_a_small_file_that_decodes_to_very_many_pixels_is_no_picture() -> None:
    made = [io.BytesIO(), io.BytesIO()]
    for file, height in zip(made, (100, 5001), strict=True):
        Image.new("L", (8000, height)).save(file, "JPEG")
    assert [decode(file.getvalue()) for file in made] == [True, False]


def test_one_picture_that_never_comes_does_not_hold_up_the_rest(tmp_path: Path) -> None:
    with museum_of(*SIX[:3]) as museum:
        museum.faults[museum.picture_path(1)] = [Fault(500)] * 5
        outcome = run_of(tmp_path, museum)
        assert why(outcome) == {"O1": "did not answer"} and len(outcome.rows) == 2
        assert len(run_of(tmp_path, museum).rows) == 3


def test_a_museum_that_is_down_ends_the_run_and_the_next_goes_on(tmp_path: Path) -> None:
    with museum_of(*SIX, down_after=2) as museum:
        with pytest.raises(SourceFault, match="goes on from there"):
            run_of(tmp_path, museum)
        again = [path for path in dict.fromkeys(museum.paths) if museum.paths.count(path) == 5]
        assert len(again) == SILENT_IN_A_ROW
        museum.down_after = None
        assert len(run_of(tmp_path, museum).rows) == 6
        assert museum.paths.count(museum.picture_path(1)) == 1


@pytest.mark.parametrize("cut", [0, 300, 4000])
def test_a_truncated_jpeg_is_fetched_again(tmp_path: Path, cut: int) -> None:
    with museum_of(*SIX[:2]) as museum:
        assert len(museum.picture(SIX[0].image_id)) > 4000
        museum.faults[museum.picture_path(1)] = [Fault(cut=cut)]
        outcome = run_of(tmp_path, museum)
        assert museum.paths.count(museum.picture_path(1)) == 2
    assert len(outcome.rows) == 2
    assert_whole(pictures_on_disk(tmp_path))


def test_a_page_of_words_in_place_of_a_picture_is_left_out(tmp_path: Path) -> None:
    with museum_of(*SIX[:2]) as museum:
        museum.faults[museum.picture_path(1)] = [Fault(body=b"<html>sorry</html>")] * 3
        outcome = run_of(tmp_path, museum)
    assert why(outcome) == {"O1": "no whole JPEG in 3 tries"}
    assert len(pictures_on_disk(tmp_path)) == 1


def test_an_answer_that_is_no_json_is_asked_for_again(tmp_path: Path) -> None:
    with museum_of(*SIX[:2]) as museum:
        museum.faults["/v2/objects/search"] = [Fault(cut=40)]
        museum.faults["/v2/museumobject/O2"] = [Fault(body=b"<html>")] * 5
        outcome = run_of(tmp_path, museum)
    assert len(outcome.rows) == 2
    assert "after 5 tries (no JSON)" in outcome.dropped[-1]["reason"]


def test_answers_that_are_no_json_are_not_the_silence_of_a_museum_that_is_down() -> None:
    client = MuseumClient(0.0, 0.0)
    with museum_of(*SIX) as museum:
        for number in range(SILENT_IN_A_ROW + 1):
            path = f"/v2/museumobject/O{number + 1}"
            museum.faults[path] = [Fault(body=b"<html>")] * 5
            with pytest.raises(NoAnswer, match="no JSON"):
                client.ask(f"{museum.address}{path}", as_json=True)


@pytest.mark.parametrize("count", [b"null", b"NaN", b"1e999", b'"many"'])
def test_a_count_or_a_size_that_is_no_number_does_no_harm(tmp_path: Path, count: bytes) -> None:
    with museum_of(*SIX[:2]) as museum:
        size = b'{"width": ' + count + b', "height": 9}'
        museum.faults[f"/collections/{SIX[0].image_id}/info.json"] = [Fault(body=size)]
        page = museum.search({"q": ["Coronet"], "page": ["1"], "page_size": ["100"]})
        page["info"]["record_count"] = "COUNT"
        body = json.dumps(page).encode().replace(b'"COUNT"', count)
        museum.faults["/v2/objects/search"] = [Fault(body=body)]
        assert len(run_of(tmp_path, museum).rows) == 2


def test_a_record_that_is_gone_leaves_the_search_s_own_words(tmp_path: Path) -> None:
    with museum_of(*SIX[:1]) as museum:
        museum.faults["/v2/museumobject/O1"] = [Fault(404)]
        run_of(tmp_path, museum)
    (row,) = rows_of(tmp_path)
    assert row["text_field"] == "_primaryTitle" and row["materials"] == []


def test_a_size_that_cannot_be_had_leaves_the_server_s_own(tmp_path: Path) -> None:
    with museum_of(*SIX[:1]) as museum:
        museum.faults[f"/collections/{SIX[0].image_id}/info.json"] = [Fault(404)]
        (row,) = run_of(tmp_path, museum).rows
    assert row["iiif_url"].endswith("/full/full/0/default.jpg") and row["width"] == 320


def test_a_picture_changed_under_the_same_name_is_found_and_taken_anew_when_asked(
    tmp_path: Path,
) -> None:
    with museum_of(*SIX[:2]) as museum:
        first = run_of(tmp_path, museum)
        museum.pictures[SIX[0].image_id] = drawing("another piece")
        assert run_of(tmp_path, museum).root == first.root, "what is here stays as it is"
        assert (
            subprocess.run(command(tmp_path / "crowns.toml", "verify"), check=False).returncode == 1
        )
        (tmp_path / "crowns" / DATA / "images" / f"{SIX[0].image_id}.jpg").unlink()
        second = run_of(tmp_path, museum)
    assert second.root != first.root and len(second.rows) == 2
    assert_whole(pictures_on_disk(tmp_path))


def test_a_kill_in_mid_download_leaves_no_half_file_and_nothing_is_fetched_twice(
    tmp_path: Path,
) -> None:
    with museum_of(*SIX, slow=0.15) as museum:
        path = recipe_file(tmp_path, museum)
        process = subprocess.Popen(
            command(path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_for_pictures(museum, 4)
        process.send_signal(signal.SIGKILL)
        process.wait()
        held = {picture.stem for picture in pictures_on_disk(tmp_path)}
        assert 2 <= len(held) <= 4
        assert_whole(pictures_on_disk(tmp_path))
        museum.slow = 0.0
        ended = subprocess.run(command(path), capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stderr
        asked = Counter(target.split("/")[2] for target in museum.picture_paths)
    assert {asked[name] for name in held} == {1}
    assert sum(asked.values()) <= 7  # at most the one in flight twice
    assert len(rows_of(tmp_path)) == len(pictures_on_disk(tmp_path)) == 6
    assert_whole(pictures_on_disk(tmp_path))
    assert list((tmp_path / "crowns" / DATA / "images").glob("*.part")) == []


def wait_for_pictures(museum: Museum, number: int) -> None:
    """Until so many have been asked for."""
    until = time.monotonic() + 60
    while len(museum.picture_paths) < number:
        if time.monotonic() > until:
            raise TimeoutError("the harvest did not get on")
        time.sleep(0.01)


def test_a_kill_between_a_picture_and_its_line_costs_no_second_fetch(tmp_path: Path) -> None:
    with museum_of(*SIX) as museum:
        run_of(tmp_path, museum)
        journal = tmp_path / "crowns" / JOURNAL
        whole = journal.read_bytes()
        journal.write_bytes(whole[:-200])  # the last line gone, or cut
        museum.asked.clear()
        assert len(run_of(tmp_path, museum).rows) == 6
        assert museum.picture_paths == []
    assert journal.read_bytes().count(b"\n") == 6


def test_a_full_disk_is_told_and_what_is_whole_stays(tmp_path: Path) -> None:
    images = tmp_path / "crowns" / DATA / "images"
    images.mkdir(parents=True)
    (images / f"{SIX[2].image_id}.jpg.part").symlink_to("/dev/full")  # every write: ENOSPC
    with museum_of(*SIX) as museum:
        with pytest.raises(TrainingError, match="disk is full"):
            run_of(tmp_path, museum)
        assert len(pictures_on_disk(tmp_path)) == 2
        assert_whole(pictures_on_disk(tmp_path))
        assert len(run_of(tmp_path, museum).rows) == 6
        assert max(Counter(museum.picture_paths).values()) == 2


def test_the_command_tells_faults_without_a_traceback(tmp_path: Path) -> None:
    path = tmp_path / "crowns.toml"
    path.write_text("[run]\nname = 'x y'\n")
    ended = subprocess.run(command(path), capture_output=True, text=True, check=False)
    assert ended.returncode == 2 and "Traceback" not in ended.stderr
    assert "cannot be used" in ended.stderr and "run.name" in ended.stderr


def test_help_comes_without_a_model_library(tmp_path: Path) -> None:
    code = "import sys, training.harvest_vam; print('torch' in sys.modules)"
    program = (sys.executable, "-c", code)
    ended = subprocess.run(program, capture_output=True, text=True, check=True, env=os.environ)
    assert ended.stdout.strip() == "False"


def test_drawings_are_whole_pictures_that_differ() -> None:
    with Image.open(io.BytesIO(drawing(1))) as one, Image.open(io.BytesIO(drawing(2))) as two:
        assert one.tobytes() != two.tobytes()
