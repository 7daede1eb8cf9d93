"""Books are fetched politely: paced, named, patient, and never twice."""

from pathlib import Path

import pytest
from training_server import Answer, Stand, serving

from training.errors import SourceFault
from training.sources.books import BooksSource
from training.sources.csv_tables import TablesSource
from training.sources.origins import BookList, BooksOrigin, TablesOrigin
from training.web.http_client import JOURNAL, Journal, PoliteClient

PAGE = "<html><body><h2>{0}</h2><p>It was late in {0}.</p></body></html>"


class Clock:
    """A clock that moves only by sleeping."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def time(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def client_with(clock: Clock, seconds: float = 1.0) -> PoliteClient:
    return PoliteClient(seconds, 1.0, clock.time, clock.sleep)


def books(stand: Stand, folder: Path, clock: Clock, *works: str, chapters: int = 0) -> BooksSource:
    shelf = BookList(address=stand.address + "/{work}{page}", works=works, chapters=chapters)
    origin = BooksOrigin(kind="books", shelves=(shelf,))
    return BooksSource(origin, "CC0", Journal(folder, client_with(clock).body))


def test_the_chapters_of_a_book_are_joined_in_order(tmp_path: Path) -> None:
    pages = {f"/b-chapter-{n}": [Answer(PAGE.format(n))] for n in (1, 2)}
    with serving(pages) as stand:
        (book,) = books(stand, tmp_path, Clock(), "b-", chapters=2).works()
    assert book.paragraphs == ("1", "It was late in 1.", "2", "It was late in 2.")


def test_calls_keep_their_pace_and_say_who_calls(tmp_path: Path) -> None:
    clock = Clock()
    with serving({f"/{n}": [Answer(PAGE.format(n))] for n in "abc"}) as stand:
        list(books(stand, tmp_path, clock, *"abc").works())
    assert clock.slept == [1.0, 1.0]
    assert all(agent.startswith("pastiche/") for agent in stand.agents)


def test_nothing_is_fetched_twice_after_a_break(tmp_path: Path) -> None:
    with serving({f"/{n}": [Answer(PAGE.format(n))] for n in "abc"}) as stand:
        next(books(stand, tmp_path, Clock(), *"abc").works())
        with (tmp_path / JOURNAL).open("a") as file:
            file.write('{"address": "cut sho')  # a kill in the middle of a line
        assert len(list(books(stand, tmp_path, Clock(), *"abc").works())) == 3
        assert stand.paths == ["/a", "/b", "/c"]


def test_a_file_damaged_on_disk_is_fetched_anew(tmp_path: Path) -> None:
    with serving({"/a": [Answer(PAGE.format("a"))]}) as stand:
        list(books(stand, tmp_path, Clock(), "a").works())
        (kept,) = (path for path in tmp_path.iterdir() if path.name != JOURNAL)
        kept.write_text("half")
        (again,) = books(stand, tmp_path, Clock(), "a").works()
    assert again.paragraphs[0] == "a" and len(stand.asked) == 2


@pytest.mark.parametrize("status", [408, 429, 500, 503, 504, 509])
def test_a_busy_or_broken_server_is_asked_again(tmp_path: Path, status: int) -> None:
    script = [Answer(status=status, headers={"Retry-After": "7"}), Answer(PAGE.format("a"))]
    clock = Clock()
    with serving({"/a": script}) as stand:
        list(books(stand, tmp_path, clock, "a").works())
    assert clock.slept[0] == 7.0


def test_a_body_cut_short_is_fetched_again(tmp_path: Path) -> None:
    with serving({"/a": [Answer(PAGE.format("a"), cut=9), Answer(PAGE.format("a"))]}) as stand:
        (book,) = books(stand, tmp_path, Clock(), "a").works()
    assert book.paragraphs == ("a", "It was late in a.")


def test_patience_ends_and_says_how_to_go_on(tmp_path: Path) -> None:
    clock = Clock()
    with serving({"/a": [Answer(status=503)]}) as stand:
        with pytest.raises(SourceFault, match="run the same command again"):
            list(books(stand, tmp_path, clock, "a").works())
        assert len(stand.asked) == 5
    waits = [seconds for seconds in clock.slept if seconds >= 1]
    assert waits == sorted(waits)


def test_a_server_that_asks_for_an_hour_is_left_alone(tmp_path: Path) -> None:
    with (
        serving({"/a": [Answer(status=429, headers={"Retry-After": "3600"})]}) as stand,
        pytest.raises(SourceFault, match="wait 60 minutes"),
    ):
        list(books(stand, tmp_path, Clock(), "a").works())


@pytest.mark.parametrize(
    ("answer", "told"), [(Answer(status=404), "answered 404"), (Answer(""), "is empty")]
)
def test_a_page_that_is_not_there_is_told(tmp_path: Path, answer: Answer, told: str) -> None:
    with serving({"/a": [answer]}) as stand, pytest.raises(SourceFault, match=told):
        list(books(stand, tmp_path, Clock(), "a").works())


def test_a_table_gives_an_article_a_row_and_names_missing_columns(tmp_path: Path) -> None:
    csv = 'url,title,text\nu1,Head,"Friday, January 4, 2019\n\nBody."\n'
    with serving({"/t": [Answer(csv)]}) as stand:
        address = f"{stand.address}/t"
        origin = TablesOrigin(kind="tables", addresses=(address,), leave_out=(r"^\w+day, ",))
        source = TablesSource(origin, "CC BY", Journal(tmp_path, client_with(Clock()).body))
        (article,) = source.works()
        assert (article.id, article.paragraphs) == ("u1", ("Head", "Body."))
        other = TablesOrigin(kind="tables", addresses=(address,), text_column="body")
        with pytest.raises(SourceFault, match="no column body"):
            list(TablesSource(other, "", Journal(tmp_path, client_with(Clock()).body)).works())
