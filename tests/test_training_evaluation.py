"""Each measure says what it claims to say, on texts whose answer is known."""

from pathlib import Path

import pytest
from training_base import AUTHORS, prose

from training.run.evaluation import BY_HAND, write_report
from training.text.data.works import Work
from training.text.evaluation import report, style
from training.text.evaluation.delta import Delta
from training.text.evaluation.diversity import diversity_of
from training.text.evaluation.memory import TrainingText, common
from training.text.evaluation.prompts import OPENINGS, TOPICS, prompts_for, report_prompt
from training.text.evaluation.scores import Score

TEMPLATE = "{instruction}\n\n{request}\n{beginning}"


def works(author: str, numbers: range) -> list[Work]:
    return [
        Work(id=str(n), title="", source="", paragraphs=tuple(prose(author, n).split("\n\n")))
        for n in numbers
    ]


def test_bits_a_byte_and_perplexity_follow_from_the_same_loss() -> None:
    score = Score(nats=(0.6931471805599453,) * 8, tokens=(1,) * 8, bytes=(2,) * 8)
    assert score.perplexity == pytest.approx(2.0)
    assert score.bits_per_byte == pytest.approx(0.5)
    assert score.interval() == pytest.approx((2.0, 2.0))


def test_the_classifier_knows_an_author_it_has_not_read_before() -> None:
    train = {author: works(author, range(6)) for author in AUTHORS}
    held_out = {author: works(author, range(6, 8)) for author in AUTHORS}
    classifier = style.fit(train, held_out, seed=1)
    assert min(classifier.ceiling.values()) > 0.9
    assert classifier.shares([prose("gloom", 99)]) == {"gloom": 1.0, "parlour": 0.0}


def test_delta_puts_a_text_nearest_to_its_own_author() -> None:
    delta = Delta({a: "\n".join(w.text for w in works(a, range(40))) for a in AUTHORS})
    text = "\n".join(work.text for work in works("gloom", range(50, 60)))
    assert delta.to("gloom", text) < delta.to("parlour", text)


def test_a_copied_run_is_found_at_its_full_length() -> None:
    train = TrainingText([list(range(100)), list(range(200, 300))])
    assert train.longest_run([0, 7, *range(220, 260), 7]) == 40
    assert train.longest_run([1, 3, 5, 7]) == 0
    assert train.shared(list(range(50))) == 1.0
    assert train.shared(list(range(400, 450))) == 0.0
    assert common([1, 2, 3], [1, 2, 4]) == 2


def test_repetition_lowers_diversity() -> None:
    plain = diversity_of(["The cat sat on the mat. A dog barked."])
    stuck = diversity_of(["The cat sat. The cat sat. The cat sat. The cat sat."])
    assert stuck.repeated_4 > plain.repeated_4 == 0
    assert stuck.distinct_2 < plain.distinct_2


def test_prompts_name_no_author_and_the_report_s_names_one() -> None:
    assert len(set(OPENINGS)) == len(set(TOPICS)) == 30
    for prompt in prompts_for("story", TEMPLATE, 30) + prompts_for("news", TEMPLATE, 30):
        assert "lovecraft" not in prompt.lower() and "style of" not in prompt
    prompt = report_prompt(TEMPLATE, "H. P. Lovecraft")
    assert prompt.startswith("Continue the following story in the style requested:")
    assert prompt.endswith("against the old windowpanes.")


def test_the_gains_are_against_the_base_and_the_nearest_other_expert() -> None:
    cell = {"interval": (1, 2), "bits_per_byte": 1.0}
    matrix = {
        "base": {"a": {"perplexity": 40.0, **cell}},
        "a": {"a": {"perplexity": 30.0, **cell}},
        "b": {"a": {"perplexity": 32.0, **cell}},
    }
    line = "- a: 25.0% below the base, 6.2% below the nearest other expert."
    assert report.gains(matrix) == line


def test_a_report_written_anew_keeps_what_was_added_by_hand(tmp_path: Path) -> None:
    assert write_report(tmp_path, "one\n", {}).name == "report.md"
    (tmp_path / "README.md").write_text(f"one\n{BY_HAND}\n## Wishes\n", encoding="utf-8")
    path = write_report(tmp_path, "two\n", {})
    assert path.read_text(encoding="utf-8") == f"two\n{BY_HAND}\n## Wishes\n"
    assert BY_HAND in Path("docs/evaluation/README.md").read_text(encoding="utf-8")
