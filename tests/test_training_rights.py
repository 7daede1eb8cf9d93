"""What `[rights]` says is enforced, and a refusal says why and what to do."""

from pathlib import Path

import pytest
from training_base import make_recipe

from training.errors import NotAllowed
from training.run.recipe import load_recipe
from training.text.rights import require_text, require_training, retention_hours

GUARDIAN = Path(__file__).parent.parent / "training" / "recipes" / "newsroom-guardian.toml"


def guardian(path: Path, **changes: str) -> Path:
    """A copy of the Guardian's recipe; `changes` replace whole lines by their key."""
    lines = GUARDIAN.read_text().split("\n")
    for key, value in changes.items():
        lines = [f"{key} = {value}" if line.startswith(f"{key} =") else line for line in lines]
    path.write_text("\n".join(lines))
    return path


def test_training_is_refused_without_permission_and_quotes_the_recipe(tmp_path: Path) -> None:
    recipe = load_recipe(make_recipe(tmp_path / "r.toml", train_allowed="false"))
    with pytest.raises(NotAllowed, match="train_allowed is not true") as refusal:
        require_training(recipe)
    assert "Made up by a test." in str(refusal.value)
    assert "set train_allowed = true" in str(refusal.value)


def test_training_is_refused_without_a_basis(tmp_path: Path) -> None:
    recipe = load_recipe(make_recipe(tmp_path / "r.toml", basis='"  "'))
    with pytest.raises(NotAllowed, match="states no basis"):
        require_training(recipe)


def test_a_stated_basis_and_permission_let_training_begin(tmp_path: Path) -> None:
    require_training(load_recipe(make_recipe(tmp_path / "r.toml")))


def test_guardian_text_is_refused_without_a_licence_with_the_terms_words() -> None:
    with pytest.raises(NotAllowed, match="machine learning") as refusal:
        require_text(load_recipe(GUARDIAN))
    for word in ("6(g)", "24 hours", "licensing@theguardian.com"):
        assert word in str(refusal.value)


def test_permission_alone_is_not_enough_for_the_guardian(tmp_path: Path) -> None:
    allowed = {"train_allowed": "true", "basis": '"I say so"'}
    with pytest.raises(NotAllowed, match="licence_ref"):
        require_training(load_recipe(guardian(tmp_path / "a.toml", **allowed)))
    allowed["licence_ref"] = '"GNM-1"'
    require_training(load_recipe(guardian(tmp_path / "b.toml", **allowed)))


@pytest.mark.parametrize(
    "source",
    [
        '"tables"\naddresses = ["https://content.guardianapis.com/search?format=csv"]',
        '"books"\nshelves = [{address = "https://www.theguardian.com/{work}", works = ["a"]}]',
        '"books"\nshelves = [{address = "https://{work}", works = ["TheGuardian.com/uk"]}]',
    ],
)
def test_a_guardian_address_passes_the_same_gate_whatever_the_source(
    tmp_path: Path, source: str
) -> None:
    recipe = load_recipe(make_recipe(tmp_path / "r.toml", kind=source))
    assert retention_hours(recipe) == 24.0
    with pytest.raises(NotAllowed, match=r"6\(g\)"):
        require_training(recipe)


def test_rights_cannot_be_changed_in_passing(tmp_path: Path) -> None:
    with pytest.raises(NotAllowed, match="Copy the recipe, write them there"):
        load_recipe(make_recipe(tmp_path / "r.toml"), ("rights.train_allowed=true",))


def test_guardian_text_never_stays_longer_than_a_day(tmp_path: Path) -> None:
    for days in ("0", "30"):
        long = load_recipe(guardian(tmp_path / "long.toml", retention_days=days))
        assert retention_hours(long) == 24.0
    short = load_recipe(guardian(tmp_path / "short.toml", retention_days="0.5"))
    assert retention_hours(short) == 12.0
    assert retention_hours(load_recipe(make_recipe(tmp_path / "r.toml"))) is None
