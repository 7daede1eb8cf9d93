"""The whole road of a picture expert, by its commands: museum, captions, training, a chat's picture."""

import json
from pathlib import Path

import pytest
from openai_server import service_of
from program import events, pastiche
from stages import stage
from test_harvest import RECIPE
from tiny_sdxl import make_base, make_recipe
from vam_server import Piece, museum_of

from engine.settings import Settings

CHANGES = (
    "expert.name=jewel", "expert.command=jewel", "expert.profile=tiny", "training.steps=2",
    "save.every=2", "validation.steps=1",
)  # fmt: skip


@pytest.mark.slow
def test_from_a_museums_catalogue_to_a_picture_in_the_chat(
    tmp_path: Path, settings: Settings
) -> None:
    runs, home = tmp_path / "runs", settings.home
    rehearsal = RECIPE.replace("train_allowed = false", "train_allowed = true")
    with museum_of(*(Piece(n) for n in range(1, 9))) as museum, service_of() as service:
        crowns = tmp_path / "crowns.toml"
        crowns.write_text(
            rehearsal.format(address=museum.address)
            + f'\n[caption]\naddress = "{service.address}"\ndollars_in = 2\ndollars_out = 8\n',
            encoding="utf-8",
        )
        stage("harvest_vam", crowns, "--runs", runs, "--no-watch")
        stage("caption", crowns, "--runs", runs, "--yes", "--max-usd", "1")
    base = make_base(tmp_path / "base", depth=1)
    recipe = make_recipe(tmp_path / "jewel.toml", base, runs / "crowns" / "data")
    options = ["--runs", runs, *(word for change in CHANGES for word in ("--set", change))]
    stage("train_image", recipe, *options)
    stage("evaluate_image", recipe, *options, "--samples", 1)
    stage("publish", recipe, *options, "--into", home / "experts")

    asked = "/jewel a TOK coronet of gold --size 64 --seed 3"
    done = pastiche(
        "ask", "--json", asked, timeout=180,
        PASTICHE_BACKEND="model", PASTICHE_THREADS="1", PASTICHE_PROFILE="tiny",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    final = events(done.stdout)[-1]
    record = json.loads((runs / "disc-tiny" / "run.json").read_text(encoding="utf-8"))
    assert final["adapter_digest"] == record["stages"]["publish"]["outputs"]["adapter"]
    assert [picture["seed"] for picture in final["pictures"]] == [3]
    assert str(tmp_path) not in json.dumps(record)
