"""From a search to captions by the commands themselves, the museum and the service on loopback."""

import json
from pathlib import Path

from openai_server import service_of
from stages import stage
from test_harvest import RECIPE
from vam_server import Fault, Piece, museum_of

from training.museum.metadata_rows import read_rows


def test_from_a_search_to_captions_with_faults_on_the_way_and_nothing_twice(tmp_path: Path) -> None:
    pieces = (*(Piece(n) for n in range(1, 6)), Piece(6, base=None), Piece(7, title=None))
    with museum_of(*pieces, Piece(8, image="2006AA0001")) as museum, service_of() as service:
        museum.faults[museum.picture_path(2)] = [Fault(500), Fault(cut=900)]
        museum.faults[museum.picture_path(3)] = [Fault(404)]
        recipe = tmp_path / "crowns.toml"
        caption = f'\n[caption]\naddress = "{service.address}"\ndollars_in = 2\ndollars_out = 8\n'
        recipe.write_text(RECIPE.format(address=museum.address) + caption)
        words = (str(recipe), "--runs", str(tmp_path))
        assert "8 objects, 7 with a picture" in stage("harvest_vam", *words, "--dry-run")
        told = stage("harvest_vam", *words, "--no-watch")
        assert "5 pictures of 5 objects" in told and "left out, answered 404: 1" in told
        assert "may not be trained on: [rights] train_allowed is false" in told
        assert "5 captions" in stage("caption", *words, "--yes", "--max-usd", "1")
        assert "are those of the lock file" in stage("harvest_vam", *words, "verify")
        asked = len(service.asked), len(museum.picture_paths)
        museum.faults[museum.picture_path(3)] = [Fault(404)]
        again = stage("harvest_vam", *words, "--no-watch")
        stage("caption", *words)
        assert (len(service.asked), len(museum.picture_paths)) == (asked[0], asked[1] + 1)
    assert "0 pictures fetched now" in again
    data = tmp_path / "crowns" / "data"
    rows, captions = (read_rows(data / f"metadata{part}.jsonl") for part in ("", "_gpt4"))
    assert [row["file_name"] for row in rows] == [row["file_name"] for row in captions]
    record = json.loads((tmp_path / "crowns" / "run.json").read_text())
    assert set(record["stages"]) == {"harvest", "caption"}
    assert str(tmp_path) not in json.dumps(record)
    assert json.loads((data / "rights.json").read_text())["train_allowed"] is False
