"""Rendered jewellery: the same for the same number, said as it was built, of sound meshes."""

import dataclasses
import json
import random

import numpy as np
import pytest

from training import render_jewellery
from training.base_image.vocabulary import KINDS
from training.renders import design, piece, pieces, scene, shapes


@pytest.mark.parametrize("manner", ["shop", "museum"])
def test_a_render_is_a_function_of_manner_and_number(tmp_path, manner) -> None:
    scene.variant(1)
    (first, facts), (again, _facts) = (
        render_jewellery.render(number=3, manner=manner, size=32, samples=4, folder=tmp_path)
        for _ in range(2)
    )
    assert (first == again).all() and first.std() > 10
    expected = {"shop": ("silver", "ruby"), "museum": ("gold", "ruby")}[manner]
    assert (facts["metal"], facts["stone"]) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_a_piece_is_said_to_have_only_what_was_built(kind: str) -> None:
    for seed, form in enumerate(design.FORMS[kind]):
        rng = random.Random(seed)
        drawn = dataclasses.replace(design.drawn(rng, kind, "museum"), form=form)
        made = piece.Piece(rng, drawn)
        pieces.BUILD[kind](made)
        facts = made.facts()
        assert bool(facts["engraving"]) <= ("engraved" in made.parts)
        assert f"stone:{facts['stone']}" in made.parts
        for mesh in (mesh for meshes in made.parts.values() for mesh in meshes):
            assert np.isfinite(mesh.points).all() and mesh.faces.max() < len(mesh.points)


SOLID = {
    "plate": shapes.plate(shapes.outline("panel"), 0.1),
    "bead": shapes.bead(),
    "cabochon": shapes.cabochon("pear"),
    "wire": shapes.tube(np.outer(np.linspace(0, 1, 5), [1.0, 0, 0]), 0.2),
} | {cut: shapes.cut_stone(cut) for cut in design.CUTS}


@pytest.mark.parametrize("name", SOLID)
def test_every_face_and_its_normals_look_outwards(name: str) -> None:
    corners = SOLID[name].points[SOLID[name].faces]
    out = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = SOLID[name].normals[SOLID[name].faces].sum(1)
    there = np.linalg.norm(out, axis=1) > 1e-9
    middle = SOLID[name].points.mean(0)
    for found in (normals, corners.mean(1) - middle):
        assert (np.einsum("ij,ij->i", out, found)[there] > 0).all()


def test_rendering_goes_on_after_a_line_that_was_broken_off(tmp_path) -> None:
    def go_on(count: int, manner: str = "shop") -> None:
        render_jewellery.main(
            tmp_path, count=count, size=32, samples=4, threads=1, manner=manner, first=0
        )

    go_on(2)
    listing = tmp_path / "metadata.jsonl"
    whole = listing.read_text(encoding="utf-8")
    listing.write_text(whole[:-20], encoding="utf-8")
    (tmp_path / "00000-ring.png").touch()
    go_on(2)
    assert listing.read_text(encoding="utf-8") == whole
    go_on(1, "museum")  # as was meant from the beginning
    last = json.loads(listing.read_text(encoding="utf-8").splitlines()[-1])
    assert (last["file"], last["manner"]) == ("00000-ring.png", "museum")
