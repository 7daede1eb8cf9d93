"""How far raters agree: Krippendorff's alpha of an export, and its interval."""

import numpy as np
import pytest

from engine.study.export.analysis import agreed


def noisy(scale: str, p: float, items: int, raters: int, seed: int) -> list[dict[str, str]]:
    """Ratings that are the truth with probability p, else any of five: their alpha is p * p."""
    draw = np.random.default_rng(seed)
    truth = draw.integers(1, 6, size=(items, 1))
    known = draw.random((items, raters)) < p
    said = np.where(known, truth, draw.integers(1, 6, size=(items, raters)))
    same = {"experiment": "quality", "question": "good", "scale": scale, "excluded": ""}
    return [
        {**same, "item": str(i), "pseudonym": str(r), "value": str(said[i, r])}
        for i in range(items)
        for r in range(raters)
    ]


@pytest.mark.parametrize("scale", ["nominal", "ordinal", "interval"])
def test_a_planted_alpha_is_found_again_within_its_interval(scale: str) -> None:
    found = [next(agreed(noisy(scale, 0.8, 60, 3, seed))) for seed in range(200)]
    inside = np.mean([low < 0.64 < high for _, _, _, low, high, _, _ in found])
    assert np.mean([line[2] for line in found]) == pytest.approx(0.64, abs=0.01)
    assert 0.91 <= inside <= 0.99


@pytest.mark.parametrize(
    ("scale", "alpha"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)]
)
def test_alpha_is_that_of_krippendorffs_own_example(scale: str, alpha: float) -> None:
    """Four observers, twelve units, with gaps (Krippendorff 2011, example C)."""
    rows = [
        {"item": str(unit), "pseudonym": str(who), "value": value}
        for who, line in enumerate(("123321412...", "1233224125.3", ".3332342251.", "12332441251."))
        for unit, value in enumerate(line)
        if value.isdecimal()
    ]
    of = {"experiment": "e", "question": "q", "scale": scale, "excluded": ""}
    assert next(agreed([row | of for row in rows]))[2] == pytest.approx(alpha, abs=5e-4)
