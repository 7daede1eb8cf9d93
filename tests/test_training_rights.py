"""What `[rights]` says is enforced, and a refusal says why and what to do."""

from pathlib import Path

import pytest
from training_base import make_recipe

from training.errors import NotAllowed
from training.recipe import load_recipe
from training.rights import require_text, require_training, retention_hours

GUARDIAN = Path(__file__).parent.parent / "training" / "recipes" / "newsroom-guardian.toml"


def test_training_is_refused_without_permission_and_quotes_the_recipe(tmp_path: Path) -> None:
    recipe = load_recipe(make_recipe(tmp_path / "r.toml", train_allowed="false"))
    with pytest.raises(NotAllowed, match="train_allowed is false") as refusal:
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
    for word in ("6(g)", "24 hours", "licensing@theguardian.com", "--metadata-only"):
        assert word in str(refusal.value)


def test_permission_alone_is_not_enough_for_the_guardian() -> None:
    allowed = ("rights.train_allowed=true", 'rights.basis="I say so"')
    with pytest.raises(NotAllowed, match="licence_ref"):
        require_training(load_recipe(GUARDIAN, allowed))
    require_training(load_recipe(GUARDIAN, (*allowed, 'rights.licence_ref="GNM-1"')))


def test_guardian_text_never_stays_longer_than_a_day(tmp_path: Path) -> None:
    for days in ("0", "30"):
        assert retention_hours(load_recipe(GUARDIAN, (f"rights.retention_days={days}",))) == 24.0
    assert retention_hours(load_recipe(GUARDIAN, ("rights.retention_days=0.5",))) == 12.0
    assert retention_hours(load_recipe(make_recipe(tmp_path / "r.toml"))) is None
