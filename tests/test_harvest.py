"""The harvest against a museum on loopback: what is taken, what is left out, what is kept of it."""

import io
import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from vam_server import Fault, Museum, Piece, drawing, jpeg, museum_of

from training.errors import BadCorpus, BadRecipe, NotAllowed, SourceFault
from training.harvest_vam import main
from training.museum.dataset import root_of
from training.museum.harvest_recipe import HarvestRecipe, load_harvest_recipe
from training.museum.harvester import Harvester, harvest
from training.museum.metadata_rows import LOCK, METADATA, RIGHTS, read_rows

RECIPES = Path(__file__).parent.parent / "training" / "recipes"
RECIPE = """
[run]
name = "crowns"

[rights]
basis = "A rehearsal with made-up objects."
licence = "CC0"
terms_url = "https://example.org/terms"
terms_read_on = 2026-11-22
retention_days = 28
train_allowed = false

[harvest]
address = "{address}/v2"
terms = ["Coronet", "Tiara"]
seconds_between = 0
page_size = 2
"""


def recipe_file(folder: Path, museum: Museum, **changes: str) -> Path:
    """A recipe that asks the museum on loopback."""
    text = RECIPE.format(address=museum.address)
    text += "".join(f"{key} = {value}\n" for key, value in changes.items())
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "crowns.toml"
    path.write_text(text, encoding="utf-8")
    return path


def run_of(folder: Path, museum: Museum, **changes: str) -> Harvester:
    """One harvest into `folder/crowns`."""
    recipe = load_harvest_recipe(recipe_file(folder, museum, **changes))
    return harvest(recipe, folder / "crowns")


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """The lines of the data folder."""
    return read_rows(folder / "crowns" / "data" / METADATA)


def why(outcome: Harvester) -> dict[str, str]:
    """The reasons by object."""
    return {row["system_number"]: row["reason"] for row in outcome.dropped}


def test_every_object_is_taken_once_with_the_terms_that_found_it(tmp_path: Path) -> None:
    both = ("Coronet", "Tiara")
    pieces = (Piece(20), Piece(3, terms=both), Piece(100, terms=("Tiara",)), Piece(7, terms=()))
    with museum_of(*pieces) as museum:
        outcome = run_of(tmp_path, museum)
    assert [row["system_number"] for row in outcome.rows] == ["O3", "O20", "O100"]
    assert [row["matched_terms"] for row in outcome.rows] == [list(both), ["Coronet"], ["Tiara"]]
    assert outcome.counts == {"Coronet": 2, "Tiara": 2}


def test_a_line_holds_what_training_and_provenance_need(tmp_path: Path) -> None:
    with museum_of(Piece(5)) as museum:
        run_of(tmp_path, museum)
    (row,) = rows_of(tmp_path)
    body = (tmp_path / "crowns" / "data" / row["file_name"]).read_bytes()
    assert row["file_name"] == "images/2006AA0005.jpg"
    assert row["text"] == "Made-up words about a tiara of gold and pearls."
    assert row["text_field"] == "summaryDescription"
    assert row["source_url"] == "https://collections.vam.ac.uk/item/O5/"
    assert row["materials"] == ["gold", "pearl"] and row["credit"] == "Given by a made-up person"
    assert row["copyright"].startswith("© Victoria") and row["maker"] == "Unknown"
    assert row["sha256"] == sha256(body).hexdigest() and row["bytes"] == len(body)
    assert (row["width"], row["height"]) == (320, 240)
    assert row["expires_at"] > row["fetched_at"]


def test_the_search_asks_for_jewellery_with_good_pictures_a_page_at_a_time(tmp_path: Path) -> None:
    with museum_of(*(Piece(n) for n in range(1, 6))) as museum:
        run_of(tmp_path, museum)
    searches = [target for target, _ in museum.asked if "/search" in target]
    first = "q=Coronet&id_category=THES48930&images_exist=1&image_restrict=2&page_size=2&page=1"
    assert searches[0].endswith(first)
    assert [target[-1] for target in searches if "Coronet" in target] == ["1", "2", "3"]


def test_the_museum_is_told_who_is_asking(tmp_path: Path) -> None:
    with museum_of(Piece(1)) as museum:
        run_of(tmp_path, museum)
    assert {heads["User-Agent"][:9] for _, heads in museum.asked} == {"pastiche/"}


def test_a_picture_is_never_asked_for_larger_than_it_is(tmp_path: Path) -> None:
    pictures = {"small": drawing("small", 320, 240), "large": drawing("large", 900, 1200)}
    pieces = (Piece(1, image="small"), Piece(2, image="large"))
    with museum_of(*pieces, pictures=pictures) as museum:
        run_of(tmp_path, museum, longest_side="600")
    assert [(row["width"], row["height"]) for row in rows_of(tmp_path)] == [(320, 240), (450, 600)]


def test_a_harvest_of_another_size_fetches_its_pictures_anew(tmp_path: Path) -> None:
    with museum_of(Piece(1), Piece(2)) as museum:
        small, large = (run_of(tmp_path, museum, longest_side=side) for side in ("300", "600"))
    sizes = [[max(row["width"], row["height"]) for row in made.rows] for made in (small, large)]
    assert max(sizes[0]) <= 300 < min(sizes[1])


def test_records_without_address_title_or_number_do_no_harm(tmp_path: Path) -> None:
    pieces = (Piece(1, base=None), Piece(2, title=None, summary=""), Piece(3, title=""))
    with museum_of(*pieces) as museum:
        broken = museum.search({"q": ["Coronet"], "page": ["1"], "page_size": ["2"]})
        broken["records"].insert(0, {"systemNumber": None})
        broken["records"].insert(0, "not an object")
        museum.faults["/v2/objects/search"] = [Fault(body=json.dumps(broken).encode())]
        outcome = run_of(tmp_path, museum)
    assert why(outcome)["O1"] == "no image address"
    titles = {row["system_number"]: (row["title"], row["text_field"]) for row in outcome.rows}
    assert titles == {"O2": ("Tiara", "objectType"), "O3": ("Tiara", "summaryDescription")}
    assert sum("a record cannot be read" in row["reason"] for row in outcome.dropped) == 2


@pytest.mark.parametrize(
    ("piece", "change", "reason"),
    [
        (Piece(1, sensitive=True), {}, "marked sensitive"),
        (Piece(1, copyright="© A Maker"), {"copyright": '"Victoria and Albert"'}, "another's"),
        (Piece(1, copyright=None), {"copyright": '"Victoria and Albert"'}, "none stated"),
        (Piece(1, base="https://elsewhere.example/x/"), {}, "outside the museum"),
        (Piece(1, image="..%2Fup"), {}, "no file name"),
        (Piece(1), {"least_side": "400"}, "too small"),
    ],
)
def test_what_the_recipe_does_not_want_is_left_out_with_its_reason(
    tmp_path: Path, piece: Piece, change: dict[str, str], reason: str
) -> None:
    with museum_of(
        piece, Piece(2, image="wide"), pictures={"wide": drawing(9, 640, 200)}
    ) as museum:
        outcome = run_of(tmp_path, museum, **change)
    assert [row["system_number"] for row in outcome.rows] == ["O2"]
    assert reason in why(outcome)["O1"]


def test_equal_and_nearly_equal_pictures_stay_once_the_largest_of_them(tmp_path: Path) -> None:
    with Image.open(io.BytesIO(drawing("one", 640, 480))) as picture:
        smaller, coarser = jpeg(picture.resize((320, 240))), jpeg(picture, quality=40)
    pictures = {"a": smaller, "b": drawing("one", 640, 480), "c": coarser, "d": smaller}
    pieces = (*(Piece(n, image=name) for n, name in enumerate("abcd", 1)), Piece(5), Piece(6))
    with museum_of(*pieces, Piece(7, image="b"), pictures=pictures) as museum:
        outcome = run_of(tmp_path, museum)
    assert [row["system_number"] for row in outcome.rows] == ["O2", "O5", "O6"]
    assert why(outcome)["O1"] == "nearly the same as images/b.jpg"
    assert why(outcome)["O7"] == "the same picture as another object's"


def test_a_second_run_asks_for_nothing_and_writes_the_same_bytes(tmp_path: Path) -> None:
    with museum_of(*(Piece(n) for n in range(1, 5))) as museum:
        first = run_of(tmp_path, museum)
        data = tmp_path / "crowns" / "data"
        before = {path.name: path.read_bytes() for path in data.iterdir() if path.is_file()}
        asked = len(museum.asked)
        second = run_of(tmp_path, museum)
        again = [path for path in museum.paths[asked:] if path != "/robots.txt"]
    assert again == [] and second.museum.asked == second.pictures.fetched == 0
    assert second.root == first.root
    assert before == {path.name: path.read_bytes() for path in data.iterdir() if path.is_file()}


def test_the_lock_names_objects_files_and_search_by_one_root(tmp_path: Path) -> None:
    with museum_of(Piece(2), Piece(10)) as museum:
        outcome = run_of(tmp_path, museum)
    lock = json.loads((tmp_path / "crowns" / "data" / LOCK).read_text())
    assert lock["objects"] == ["O2", "O10"] and lock["root"] == outcome.root
    assert root_of({row["file_name"]: row["sha256"] for row in outcome.rows}) == outcome.root
    assert lock["search"]["terms"] == ["Coronet", "Tiara"] and lock["terms_read_on"]
    assert "Made-up" not in json.dumps(lock)


def test_the_rights_lie_beside_the_pictures_four_weeks_at_most(tmp_path: Path) -> None:
    with museum_of(Piece(1)) as museum:
        path = recipe_file(tmp_path, museum)
        path.write_text(path.read_text().replace("retention_days = 28", "retention_days = 400"))
        harvest(load_harvest_recipe(path), tmp_path / "crowns")
    rights = json.loads((tmp_path / "crowns" / "data" / RIGHTS).read_text())
    assert rights["retention_days"] == 28 and rights["train_allowed"] is False
    assert rights["basis"] and rights["licence"] and rights["terms_url"] and rights["terms_read_on"]


def test_a_dry_run_counts_and_fetches_no_record_or_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with museum_of(*(Piece(n) for n in range(1, 4)), Piece(4, base=None)) as museum:
        main(recipe_file(tmp_path, museum), runs=tmp_path, dry_run=True)
        assert set(museum.paths) == {"/robots.txt", "/v2/objects/search"}
    told = capsys.readouterr().out
    assert "Coronet: 4 records" in told and "4 objects, 3 with a picture" in told
    assert "at most 9 calls" in told


def test_nothing_found_is_told_with_what_to_widen(tmp_path: Path) -> None:
    with museum_of(Piece(1, terms=())) as museum, pytest.raises(BadCorpus, match="Widen"):
        run_of(tmp_path, museum)


def test_an_answer_of_another_shape_is_told_as_such(tmp_path: Path) -> None:
    with museum_of(Piece(1)) as museum:
        museum.faults["/v2/objects/search"] = [Fault(body=b'{"hits": []}')]
        with pytest.raises(SourceFault, match="another shape"):
            run_of(tmp_path, museum)


def test_robots_txt_is_obeyed(tmp_path: Path) -> None:
    rules = "User-agent: *\nDisallow: /collections/\n"
    with museum_of(Piece(1), robots=rules) as museum:
        with pytest.raises(NotAllowed, match=r"robots\.txt"):
            run_of(tmp_path, museum)
        assert museum.picture_paths == []


def test_a_museum_may_not_be_hurried_but_a_rehearsal_may() -> None:
    values = {
        "run": {"name": "x"},
        "rights": {"basis": "b", "licence": "l", "train_allowed": False},
        "harvest": {"seconds_between": 0.1},
    }
    with pytest.raises(ValueError, match=r"at least 0\.35"):
        HarvestRecipe.model_validate(values)
    values["harvest"]["address"] = "http://127.0.0.1:1/v2"
    assert HarvestRecipe.model_validate(values).harvest.local


def test_a_recipe_without_basis_or_with_unknown_keys_is_refused(tmp_path: Path) -> None:
    with museum_of(Piece(1)) as museum:
        path = recipe_file(tmp_path, museum)
        path.write_text(path.read_text().replace("A rehearsal with made-up objects.", " "))
        with pytest.raises(NotAllowed, match="terms_read_on"):
            main(path, runs=tmp_path)
        assert museum.asked == []
        with pytest.raises(BadRecipe, match=r"harvest\.colour"):
            load_harvest_recipe(recipe_file(tmp_path, museum, colour="1"))


def test_the_shipped_recipe_can_be_read_and_does_not_allow_training() -> None:
    recipe = load_harvest_recipe(RECIPES / "coronet-harvest.toml")
    assert recipe.harvest.terms[0] == "Coronet" and recipe.harvest.page_size == 100
    assert recipe.harvest.longest_side == 2500 and recipe.retention_days == 28
    assert not recipe.rights.train_allowed
