"""Which pictures count as the same: copies do, other pieces and other stones do not."""

import io
from typing import Any

from hypothesis import given
from hypothesis import strategies as some
from PIL import Image
from vam_server import drawing, jpeg

from training.museum.duplicates import colours, dhash, without_duplicates

HEX = some.integers(0, 2**128 - 1).map(lambda bits: f"{bits:032x}")


def row(name: str, picture: Image.Image) -> dict[str, Any]:
    """What is known of a picture."""
    return {
        "file_name": name,
        "width": picture.width,
        "height": picture.height,
        "dhash": dhash(picture),
        "colours": colours(picture),
    }


def distance(one: str, other: str) -> int:
    """In how many bits two hashes differ."""
    return (int(one, 16) ^ int(other, 16)).bit_count()


def opened(body: bytes) -> Image.Image:
    """A picture from its bytes."""
    return Image.open(io.BytesIO(body))


@given(some.integers(0, 255), some.integers(2, 40), some.integers(2, 40))
def test_a_plain_ground_has_no_steps(shade: int, width: int, height: int) -> None:
    flat = Image.new("RGB", (width, height), (shade, shade, shade))
    assert dhash(flat) == "0" * 32 and colours(flat) == f"{shade:02x}" * 48


def test_a_hash_tells_a_picture_from_the_same_upside_down() -> None:
    slope = Image.linear_gradient("L")
    for picture in (slope, slope.rotate(90)):
        assert distance(dhash(picture), dhash(picture.rotate(180))) == 64


def test_copies_of_other_sizes_and_qualities_are_found_and_other_pieces_are_not() -> None:
    rows = []
    for seed in range(12):
        picture = opened(drawing(seed, 640, 480))
        copy = opened(jpeg(picture.resize((400, 300)), quality=40))
        rows += [row(f"{seed}-copy", copy), row(f"{seed}", picture)]
    kept, dropped = without_duplicates(rows, 8)
    assert [kept_row["file_name"] for kept_row in kept] == [str(seed) for seed in range(12)]
    assert {gone["file_name"]: twin for gone, twin in dropped} == {
        f"{seed}-copy": str(seed) for seed in range(12)
    }


def test_the_same_form_with_another_stone_is_another_piece() -> None:
    rows = []
    for stone in ((150, 0, 0), (0, 76, 0)):  # of one brightness
        picture = Image.new("RGB", (80, 80), (40, 40, 60))
        picture.paste(stone, (20, 20, 60, 60))
        rows.append(row(str(stone), picture))
    assert distance(rows[0]["dhash"], rows[1]["dhash"]) <= 8
    assert len(without_duplicates(rows, 8)[0]) == 2


@given(
    some.lists(
        some.fixed_dictionaries(
            {
                "dhash": some.one_of(HEX, some.sampled_from(["0" * 32, "0" * 31 + "f"])),
                "colours": some.sampled_from(["00" * 48, "05" * 48, "ff" * 48]),
                "width": some.integers(1, 50),
                "height": some.just(10),
            }
        ),
        max_size=12,
    ),
    some.integers(0, 32),
)
def test_every_dropped_picture_has_a_twin_that_is_kept_and_not_smaller(
    found: list[dict[str, Any]], bits: int
) -> None:
    rows = [{**entry, "file_name": str(n)} for n, entry in enumerate(found)]
    kept, dropped = without_duplicates(rows, bits)
    by_name = {entry["file_name"]: entry for entry in kept}
    assert len(kept) + len(dropped) == len(rows)
    assert [entry for entry in rows if entry["file_name"] in by_name] == kept
    for gone, twin in dropped:
        assert by_name[twin]["width"] >= gone["width"]
        assert distance(by_name[twin]["dhash"], gone["dhash"]) <= bits
