"""Before the first person: how many are needed, and what is written down."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from experimenting import experiment_text
from flows import FLOW

from engine.errors import CommandError
from engine.study.design.experiment_file import parse_experiment, version_of
from engine.study.design.power import Design, needed, power
from engine.study.design.preregistration import document

SIXTY = Design(effect=0.6, judgements=3, icc=0.1)


def test_as_many_people_are_needed_as_the_formula_says() -> None:
    """Of 194 decided pairs for 60 against 50 % at 80 % power, three of each and alike by 0.1: 78."""
    people = needed(SIXTY, 0.8)
    assert 72 <= people <= 86 and power(people, SIXTY) >= 0.8
    assert needed(replace(SIXTY, icc=0.5), 0.8) > people < needed(replace(SIXTY, ties=0.3), 0.8)


@pytest.mark.parametrize("people", [12, 60])
def test_the_planned_test_finds_nothing_as_rarely_as_its_level_says(people: int) -> None:
    assert 0.03 < power(people, replace(SIXTY, effect=0.5)) < 0.07


def test_an_effect_that_needs_too_many_is_refused() -> None:
    with pytest.raises(CommandError, match="would be needed"):
        needed(replace(SIXTY, effect=0.5001, judgements=1), 0.9)


@pytest.mark.parametrize("text", [FLOW, experiment_text("pairs", "compare", more="max_n = 60")])
def test_a_preregistration_holds_design_analysis_and_digests(text: str) -> None:
    text = text.replace("max_n = 1000\n", "")
    made = document(parse_experiment(text, "x"), text, {"stimuli manner": "ab" * 32}, "81", 0.0)
    assert "1970-01-01 00:00:00" in made and version_of(text) in made and "ab" * 32 in made
    assert "share won by the treated arm" in made and ("d′ of real" in made) == (text == FLOW)
    assert text.strip() in made and "whole people anew" in made
    if text == FLOW:
        lines = (
            "1 × guess: stimuli training; practice, not scored",
            "2 of “often”",
            "failed_checks = 1",
        )
        assert all(line in made for line in lines)


def test_a_preregistration_plans_only_what_analysis_and_report_do() -> None:
    text = experiment_text("arms", tables="[exclude]\nfaster_seconds = 2")
    made = document(parse_experiment(text, "x"), text, {}, "", 0.0)
    assert "Share of thumbs up and mean rating by arm" in made and "d′" not in made
    assert "faster_seconds = 2" in made and "those only who came to the end" in made


def test_the_guide_names_the_commands_of_planning() -> None:
    guide = (Path(__file__).parents[1] / "docs/study.md").read_text(encoding="utf-8")
    for command in ("plan", "preregister", "simulate"):
        assert re.search(rf"pastiche study {command}\b", guide), command
