"""The report needs nothing but itself, tells its n, and counts right."""

import re
from collections.abc import AsyncIterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from study_exports import export
from study_love import fill_love
from study_rows import STUDY, Rows, fill_study, opened

from engine.errors import CommandError
from engine.ledger.transactions import Database
from engine.settings import Settings
from engine.study.experiments.passages import shipped
from engine.study.experiments.tables import Enrolment, QuestionnaireAnswer
from engine.study.export.analysis import lines, prime, read
from engine.study.export.dataset import read_study
from engine.study.export.release import Scrub, Shape, shape
from engine.study.report.estimates import (
    bootstrap,
    bradley_terry,
    detection,
    estimated,
    share,
    win_rate,
)
from engine.study.report.figures import short
from engine.study.report.judgements import judgements
from engine.study.report.primary import preferred
from engine.study.report.recruitment import recruitment
from engine.study.report.report import report_page, report_study
from engine.study.study import read_study_file
from tests.benchmarks.surface import classified

FIGURES = {
    "funnel", "exclusions", "arms", "experts", "ratings",
    "arm-ratings", "wins", "strengths", "position", "detection",
}  # fmt: skip
counts = st.integers(0, 300)


class Page(HTMLParser):
    """The ids, addresses, tags, and text of each figure."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.figures: dict[str, str] = {}
        self._figure = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.tags.add(tag)
        if "id" in found:
            self.ids.add(found["id"])
        self.links += [found[name] for name in ("href", "src", "xlink:href") if name in found]
        if tag == "figure":
            self._figure = found["id"]
            self.figures[self._figure] = ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "figure":
            self._figure = ""

    def handle_data(self, data: str) -> None:
        if self._figure:
            self.figures[self._figure] += data


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    made = await opened(settings)
    yield made
    await made.close()


async def page_of(settings: Settings, database: Database) -> str:
    return report_page(read_study_file(settings, STUDY), await read_study(database, STUDY))


async def test_the_page_needs_nothing_but_itself_and_is_the_same_every_time(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    await fill_study(database, settings, 10)
    assert await report_study(settings, STUDY, tmp_path / "report.html") == 90
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert text == await page_of(settings, database)
    page = Page(text)
    assert "script" not in page.tags
    assert all(link.startswith("#") for link in page.links)
    assert {link[1:] for link in page.links if link.startswith("#")} <= page.ids
    assert set(re.findall(r'https?://[^"\s]+', text)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    assert re.search(r"@import|url\(", re.sub(r"url\(#", "", text)) is None
    assert (tmp_path / "report.html").stat().st_mode & 0o777 == 0o600


async def test_every_figure_tells_its_n_and_the_exports_rows_count_up_to_it(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    await fill_study(database, settings, 10)
    await export(settings, tmp_path / "out")
    page = Page(await page_of(settings, database))
    assert page.figures.keys() == FIGURES
    for name, text in page.figures.items():
        assert re.search(r"n = [\d,]+", text), name
        assert "the rows behind it" in text
    rows = pandas.read_csv(tmp_path / "out/trials.csv")
    rows = rows[rows["kind"] == "compare"]
    assert len(rows) == 30
    scored = rows[rows["choice"].isin(["a", "b", "tie"]) & (rows["unblinded"] == False)]  # noqa: E712
    won = ((scored["choice"] == "a") & (scored["first"] == "agatha")).sum()
    won += ((scored["choice"] == "b") & (scored["second"] == "agatha")).sum()
    rate = (won + (scored["choice"] == "tie").sum() / 2) / len(scored)
    assert f"scored {len(scored)}" in page.figures["wins"]
    assert f"{rate:.3g}" in page.figures["wins"]
    assert len(pandas.read_csv(tmp_path / "out/interactions.csv", lineterminator="\n")) == 90


async def test_nobody_who_left_and_nothing_that_was_written_is_in_it(
    settings: Settings, database: Database
) -> None:
    await fill_study(database, settings, 6)
    async with database.writing() as connection:
        rows = Rows(connection, seed=9)
        gone = rows.person(2)
        await rows.consent(gone, action="withdrawn", use=False)
    text = await page_of(settings, database)
    assert gone[:12] not in text and "rain" not in text
    assert "on record54interactions: left out: no consent now9" in Page(text).figures["exclusions"]
    assert "withdrew" in Page(text).figures["funnel"]


async def test_a_figure_of_steps_names_each_once(settings: Settings, database: Database) -> None:
    await fill_study(database, settings, 6)
    reading = await read_study(database, STUDY)
    for figure in recruitment(shape(reading, Shape(), Scrub()).tables, reading.flow)[:2]:
        steps = [row[0] for row in figure.cells]
        assert len(steps) == len(set(steps)) > 6


async def test_a_study_without_rows_has_a_page_that_says_so(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    assert (await page_of(settings, database)).count("No rows yet.") == len(FIGURES) - 1
    with pytest.raises(CommandError, match="is a folder"):
        await report_study(settings, STUDY, tmp_path)


async def test_void_pairs_both_bad_and_unblinded_votes_are_counted_and_not_scored(
    settings: Settings, database: Database
) -> None:
    async with database.writing() as connection:
        rows = Rows(connection)
        name = rows.person(0)
        await rows.consent(name)
        shown = [
            {"label": label, "arm": label, "expert": "agatha", "plain": plain}
            for label, plain in (("a", False), ("b", True))
        ]
        void = await rows.exposure(name, "compare", shown, state="void", void_reason="blocked")
        for choice, unblinded in (("a", False), ("bad", False), ("b", True)):
            exposure = await rows.exposure(name, "compare", shown)
            await rows.vote(name, exposure, choice, unblinded=unblinded)
        await rows.vote(name, void, "b")
    figures = Page(await page_of(settings, database)).figures
    assert "n = 3 of 1 people; scored 1, both bad 1, unblinded 1" in figures["wins"]
    assert "compare: void: blocked1" in figures["exclusions"]


async def test_answers_are_shown_arm_by_arm(settings: Settings, database: Database) -> None:
    async with database.writing() as connection:
        rows = Rows(connection)
        for number, (arm, value) in enumerate(
            [("hot", "5"), ("hot", "4"), ("cold", "1"), ("cold", None)]
        ):
            name = rows.person(number)
            await rows.consent(name)
            unit = {"unit": name, "unit_kind": "person", "pseudonym": name, "arm": arm}
            of = {"experiment": "warm", "at": rows.now}
            await rows.add(
                Enrolment, id=rows.id(), version_sha256="c" * 64, position=number, **unit, **of
            )
            asked = {"instrument": "after", "question": "liked", "value": value, "shown": {}}
            await rows.add(QuestionnaireAnswer, id=rows.id(), pseudonym=name, **asked, **of)
    text = Page(await page_of(settings, database)).figures["answers-warm-after-liked"]
    assert "n = 3 answers of 4 people" in text
    assert "hot24.54 to 50" in text
    assert "cold11–11" in text


async def test_the_result_stands_first_obeys_the_exclusions_and_reads_as_it_was_asked(
    settings: Settings, database: Database
) -> None:
    await fill_love(database, "+++-----", "....xxxx")
    text = await page_of(settings, database)
    assert text.index('id="findings"') < text.index('id="people"')
    assert "Readers prefer the expert." in text and "https://osf.io/abcde" in text
    assert "lora was preferred to alone in 75.0% of 4 decided comparisons by 4 people" in text
    assert "rules of exclusion leave out 4" in text
    wins = Page(text).figures["wins"]
    assert "love: lora over alone310" in wins, "won 3, lost 1, no tie"
    assert "0.75" in wins and "0.375" in wins, "and everybody beside it"


async def test_a_page_is_written_where_everybody_was_excluded_or_nothing_was_decided(
    settings: Settings, database: Database
) -> None:
    await fill_love(database, "++-", "xxx")
    text = await page_of(settings, database)
    assert "–" in Page(text).figures["wins"]
    assert not re.findall(r".{40}\bnan\b.{20}", text, re.I | re.S)
    said = preferred("lora", "alone", estimated(np.zeros((0, 2)), share, 0)[0], 3)
    assert said == "No comparison of lora with alone was decided. 3 ties are left out."


async def test_a_page_speaks_to_who_cannot_see_it_and_shows_scales_as_they_were_asked(
    settings: Settings, database: Database
) -> None:
    await fill_love(database, "++-", "...")
    text = await page_of(settings, database)
    labels = re.findall(r'<svg [^>]*aria-label="([^"]*)"', text)
    assert labels and all(re.search(r"\d", label) for label in labels)
    assert any("love: lora over alone 0.667, 95 % interval" in label for label in labels), labels
    assert "<th>" not in text and text.count("<table>") == text.count("<caption>")
    assert (
        "How did you like it?" in text and "very much" in text and ">7<" in text.replace("\n", "<")
    )
    answers = Page(text).figures["answers-love-before-read"]
    assert answers.index("Nothing") < answers.index("Some") < answers.index("Nearly all")


async def test_style_is_held_and_d_prime_told_by_arm_as_in_the_analysis(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    await fill_study(database, settings, 12)
    await export(settings, tmp_path / "out")
    figures = Page(await page_of(settings, database)).figures
    told = {(what, of): short(value) for what, of, value, *_ in lines(read(tmp_path / "out"))}
    held = {of: v for (what, of), v in told.items() if what == "style held" and " over " in of}
    assert held and all(value in figures["strengths"] for value in held.values())
    tables = shape(await read_study(database, "pilot"), Shape(), Scrub()).tables
    guesses = [row for row in tables["trials"] if row["kind"] == "guess"]
    for number, row in enumerate(guesses):
        row |= {"experiment": "tell", "arm": ("hot", "cold")[number % 3 == 0]}
    [detection] = [figure for figure in judgements(tables) if figure.name == "detection"]
    cells = {cell[0]: cell[3] for cell in detection.cells}
    for arm in ("hot", "cold"):
        own = [row for row in guesses if row["arm"] == arm and row["scored"]]
        assert cells[f"tell: {arm}"] == pytest.approx(prime(own))


async def test_decimals_and_minus_signs_are_numbers_and_choices_are_counted_each_for_itself(
    settings: Settings, database: Database
) -> None:
    await fill_love(database, "++-+", "....", odd=True)
    figures = Page(await page_of(settings, database)).figures
    cold, whom = (figures[f"answers-love-before-{name}"] for name in ("cold", "whom"))
    assert "mean answer" in cold and "alone+lora4-0.875" in cold, "(-3.5 + 1 + 2.5 - 3.5) / 4"
    assert "Poe; Austen" not in whom and "n = 3 answers of 4 people" in whom
    assert "add up to more" in whom and whom.index("Poe") < whom.index("Austen")
    assert "alone+lora3123" in whom, "three answered, one would not: Poe 2, Austen 3"


async def test_the_share_that_the_surface_tells_stands_beside_d_prime(
    settings: Settings, database: Database
) -> None:
    text = Page(await page_of(settings, database)).figures["detection"]
    kinds = [[i.text for i in shipped() if i.kind == kind] for kind in ("real", "generated")]
    assert f"length and punctuation alone tell {classified(*kinds):.1%} right" in text
    assert "217 of 317 generated ones were set aside to match" in text


async def test_those_who_never_met_stand_apart(settings: Settings, database: Database) -> None:
    async with database.writing() as connection:
        rows = Rows(connection)
        name = rows.person(0)
        await rows.consent(name)
        for one, other in (("agatha", "lovecraft"), ("jewel", "newsroom")):
            shown = [{"arm": each, "expert": each, "plain": False} for each in (one, other)]
            await rows.vote(name, await rows.exposure(name, "compare", shown), "a")
    figures = Page(await page_of(settings, database)).figures
    assert "newsroom" not in figures["strengths"] and "newsroom" in figures["strengths-2"]


# Statistics


@given(counts, counts)
def test_two_players_strengths_are_the_log_odds(wins: int, losses: int) -> None:
    scores = bradley_terry(np.array([[[0, wins], [losses, 0]]], dtype=float))[0]
    expected = np.log((wins + 0.5) / (losses + 0.5)) if wins + losses else 0
    assert scores[0] - scores[1] == pytest.approx(expected, abs=1e-6)


def test_strengths_that_made_the_wins_are_found_again() -> None:
    true = np.array([0.8, 0.1, -0.2, -0.7])
    chance = 1 / (1 + np.exp(true[None, :] - true[:, None]))
    wins = np.random.default_rng(1).binomial(2000, np.triu(chance, 1))
    wins = wins + np.tril(2000 - wins.T, -1)
    assert bradley_terry(wins[None].astype(float))[0] == pytest.approx(true, abs=0.06)


@given(counts, counts, counts, counts)
def test_detection_turns_over_when_real_and_generated_do(a: int, b: int, c: int, d: int) -> None:
    one = detection(np.array([[a, b, c, d]], dtype=float))[0]
    other = detection(np.array([[d, c, b, a]], dtype=float))[0]
    assert one[0] == pytest.approx(other[0])
    assert one[1] == pytest.approx(-other[1])
    expected = stats.norm.ppf((a + 0.5) / (a + b + 1)) - stats.norm.ppf((c + 0.5) / (c + d + 1))
    assert one[0] == pytest.approx(expected)


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    """60 people whose own leanings differ; the rate over all is 0.5."""
    draw = np.random.default_rng(3)
    held = 0
    for seed in range(100):
        leaning = draw.beta(2, 2, size=60)
        won = draw.binomial(8, leaning)
        rows = np.stack([won, 8 - won, np.zeros(60)], axis=1).astype(float)
        _, low, high = bootstrap(rows, win_rate, seed)
        held += bool(low[0] <= 0.5 <= high[0])
    assert 88 <= held <= 100
