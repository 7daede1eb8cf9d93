"""The Guardian: paged to the end, patient, and gone after a day."""

import json
from pathlib import Path
from typing import Any

import pytest
from test_training_books import Clock
from training_server import Answer, Stand, serving

from training.errors import SourceFault
from training.run.expiry import STAMP, purge, stamp
from training.sources.csv_tables import TablesSource
from training.sources.guardian_api import GuardianApi
from training.sources.guardian_articles import ARTICLES, STATE, GuardianSource
from training.sources.origins import GuardianOrigin, TablesOrigin
from training.web.http_client import Journal, PoliteClient

KEY = "not-a-real-key"


def article(name: str, body: str = "Invented words.", kind: str = "article") -> dict[str, Any]:
    return {
        "id": f"uk-news/2026/jan/01/{name}",
        "type": kind,
        "sectionId": "uk-news",
        "webPublicationDate": "2026-01-01T08:00:00Z",
        "webTitle": name,
        "webUrl": f"https://www.theguardian.com/{name}",
        "fields": {"headline": name.title(), "bodyText": body, "wordcount": "2"},
    }


def page(*articles: dict[str, Any], size: int = 2) -> Answer:
    response = {"status": "ok", "pageSize": size, "orderBy": "newest", "results": list(articles)}
    return Answer(json.dumps({"response": response}))


def after(name: str) -> str:
    return f"/content/uk-news/2026/jan/01/{name}/next"


def source(
    stand: Stand, folder: Path, clock: Clock, limit: int = 100, section: str = "uk-news"
) -> GuardianSource:
    client = PoliteClient(1.0, 0.25, clock.time, clock.sleep)
    origin = GuardianOrigin(kind="guardian", section=section, page_size=2, limit=limit)
    api = GuardianApi(KEY, client, stand.address)
    noted: list[Path] = []
    return GuardianSource(origin, "GNM-1", api, folder / "store", 24.0, clock.time, noted.append)


THREE_PAGES = {
    "/search": [page(article("a"), article("b"))],
    after("b"): [page(article("c"), article("d"))],
    after("d"): [page(article("e"))],
}


def test_paging_goes_on_from_the_last_id_with_order_and_size_fixed(tmp_path: Path) -> None:
    with serving(dict(THREE_PAGES)) as stand:
        works = list(source(stand, tmp_path, Clock()).works())
    assert [work.title for work in works] == ["A", "B", "C", "D", "E"]
    assert stand.paths == ["/search", after("b"), after("d")]
    _, query = stand.asked[1]
    assert (query["order-by"], query["page-size"], query["type"]) == ("newest", "2", "article")
    assert "page" not in query


def test_live_blogs_and_empty_bodies_are_left_out(tmp_path: Path) -> None:
    pages = page(article("a"), article("live", kind="liveblog"), article("b", body=" "), size=9)
    with serving({"/search": [pages]}) as stand:
        assert [w.title for w in source(stand, tmp_path, Clock()).works()] == ["A"]


@pytest.mark.parametrize("last", [page(), page(article("a"), article("b"))])
def test_an_empty_or_repeated_page_ends_the_search(tmp_path: Path, last: Answer) -> None:
    script = {"/search": [page(article("a"), article("b"))], after("b"): [last]}
    with serving(script) as stand:
        assert len(list(source(stand, tmp_path, Clock()).works())) == 2
        assert len(stand.asked) == 2


@pytest.mark.parametrize("status", [408, 429, 500, 503, 504, 509])
def test_the_servers_own_reset_is_waited_for(tmp_path: Path, status: int) -> None:
    refusal = Answer('{"message": "API rate limit exceeded"}', status, {"ratelimit-reset": "42"})
    clock = Clock()
    with serving({"/search": [refusal, page(article("a"))]}) as stand:
        assert len(list(source(stand, tmp_path, clock).works())) == 1
    assert 42.0 in clock.slept


def test_an_answer_cut_short_is_asked_for_again(tmp_path: Path) -> None:
    whole = page(article("a"))
    script = [Answer(whole.body, cut=20), Answer(whole.body[:20]), whole]
    with serving({"/search": script}) as stand:
        assert len(list(source(stand, tmp_path, Clock()).works())) == 1
        assert len(stand.asked) == 3


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (Answer('{"message": "Unauthorized"}', 401), "refused the key"),
        (Answer("[]", 404), "answered 404: no reason given"),
        (
            Answer(
                '{"response": {"status": "error", "message": "requested page is beyond the number '
                'of available pages"}}',
                400,
            ),
            "beyond the number",
        ),
    ],
)
def test_a_wrong_key_and_a_page_too_far_are_told_without_the_key(
    tmp_path: Path, answer: Answer, told: str
) -> None:
    with serving({"/search": [answer]}) as stand, pytest.raises(SourceFault, match=told) as fault:
        list(source(stand, tmp_path, Clock()).works())
    assert KEY not in str(fault.value)


def test_a_lost_connection_is_told_without_the_key(tmp_path: Path) -> None:
    with serving({}) as stand:
        gone = source(stand, tmp_path, Clock())
    with pytest.raises(SourceFault, match="did not answer") as fault:
        list(gone.works())
    assert KEY not in str(fault.value)


def test_a_broken_search_goes_on_where_it_stopped(tmp_path: Path) -> None:
    script = dict(THREE_PAGES) | {after("d"): [Answer(status=503)] * 5 + [page(article("e"))]}
    with serving(script) as stand:
        with pytest.raises(SourceFault):
            list(source(stand, tmp_path, Clock()).works())
        store = tmp_path / "store" / ARTICLES
        store.write_text(store.read_text() + '{"id": "cut sho')
        assert len(list(source(stand, tmp_path, Clock()).works())) == 5
        assert stand.paths.count("/search") == stand.paths.count(after("b")) == 1


def test_the_store_is_gone_after_a_day_and_filled_anew(tmp_path: Path) -> None:
    clock = Clock()
    with serving({"/search": [page(article("a"))]}) as stand:
        list(source(stand, tmp_path, clock).works())
        clock.now += 23.9 * 3600
        assert purge(tmp_path, clock.now) == []
        clock.now += 0.2 * 3600
        list(source(stand, tmp_path, clock).works())
        assert stand.paths == ["/search", "/search"]
        assert purge(tmp_path, clock.now + 25 * 3600) == [tmp_path / "store"]
    assert not (tmp_path / "store").exists()


def test_the_limit_stops_the_paging(tmp_path: Path) -> None:
    with serving(dict(THREE_PAGES)) as stand:
        assert len(list(source(stand, tmp_path, Clock(), limit=3).works())) == 3
        assert len(stand.asked) == 2


def test_a_store_cut_inside_a_character_goes_on(tmp_path: Path) -> None:
    script = dict(THREE_PAGES) | {after("d"): [Answer(status=503)] * 5 + [page(article("e"))]}
    with serving(script) as stand:
        with pytest.raises(SourceFault):
            list(source(stand, tmp_path, Clock()).works())
        with (tmp_path / "store" / ARTICLES).open("ab") as store:
            store.write('{"id": "caf\u00e9'.encode()[:-1])
        assert len(list(source(stand, tmp_path, Clock()).works())) == 5


@pytest.mark.parametrize("change", [{"section": "books"}, {"limit": 1}])
def test_another_search_does_not_get_the_articles_of_the_last(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    with serving({"/search": [page(article("a")), page(article("b"))]}) as stand:
        list(source(stand, tmp_path, Clock()).works())
        due = (tmp_path / "store" / STAMP).read_text()
        works = list(source(stand, tmp_path, Clock(), **change).works())
    assert [work.title for work in works] == ["B"]
    assert (tmp_path / "store" / STAMP).read_text() == due


def test_a_store_found_with_a_stamp_is_watched_all_the_same(tmp_path: Path) -> None:
    stamp(tmp_path / "store", 24.0, now=0.0)
    watched: list[Path] = []
    with serving({"/search": [page(article("a"))]}) as stand:
        for _ in range(2):
            found = source(stand, tmp_path, Clock())
            found.watch = watched.append
            list(found.works())
    assert watched == [tmp_path / "store"] * 2


def test_texts_without_a_stamp_are_not_given_another_day(tmp_path: Path) -> None:
    with serving({"/search": [page(article("a")), page(article("b"))]}) as stand:
        list(source(stand, tmp_path, Clock()).works())
        (tmp_path / "store" / STAMP).unlink()
        assert (tmp_path / "store" / STATE).exists()
        assert [work.title for work in source(stand, tmp_path, Clock()).works()] == ["B"]


def test_a_server_that_asks_for_no_pause_is_given_one(tmp_path: Path) -> None:
    clock = Clock()
    busy = Answer(status=429, headers={"Retry-After": "0"})
    with serving({"/search": [busy, page(article("a"))]}) as stand:
        list(source(stand, tmp_path, clock).works())
    assert clock.slept[0] >= 0.25


def test_an_answer_that_does_not_unpack_is_asked_for_again(tmp_path: Path) -> None:
    broken = Answer("not gzip", headers={"Content-Encoding": "gzip"})
    with serving({"/search": [broken, page(article("a"))]}) as stand:
        assert len(list(source(stand, tmp_path, Clock()).works())) == 1


def test_a_site_is_told_whom_to_write_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASTICHE_CONTACT", "me@example.org\n")
    with serving({"/search": [page(article("a"))]}) as stand:
        list(source(stand, tmp_path, Clock()).works())
    (agent,) = stand.agents
    assert agent.startswith("pastiche/") and agent.endswith("copy; contact: me@example.org)")


@pytest.mark.parametrize("body", [b"url,title,text\nu,T,caf\xc3", b"url,title,text\nu,T\rX,b\n"])
def test_a_table_that_cannot_be_read_is_told_with_its_copy(tmp_path: Path, body: bytes) -> None:
    journal = Journal(tmp_path, lambda _: body)
    journal.body("http://t")
    origin = TablesOrigin(kind="tables", addresses=("http://t",))
    table = TablesSource(origin, "CC BY", journal)
    with pytest.raises(SourceFault, match=journal.copy("http://t").name):
        list(table.works())
