"""Captions through a service on loopback: what is sent, journaled, paid, written and refused."""

import base64
import io
import json
import os
import pty
import signal
import time
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import pytest
from openai_server import Reply, Service, description, service_of
from PIL import Image
from stages import begin
from vam_server import drawing

from training.caption import main
from training.captioning.chat_completions import client_of
from training.captioning.questions import completion_body, questions_of
from training.errors import BadCorpus, BadRecipe, NotAllowed, SourceFault, TrainingError
from training.museum.harvest_recipe import CaptionTable
from training.museum.harvester import alone
from training.museum.metadata_rows import read_rows
from training.run.json_lines import write_lines
from training.run.settings import TrainingSettings

PREFIX = "a high-quality photo of a real historical TOK jewellery piece"
RECIPE = """
[run]
name = "crowns"

[rights]
basis = "A rehearsal with made-up objects."
licence = "CC0"
terms_read_on = 2026-11-22
train_allowed = true

[caption]
address = "{address}"
dollars_in = 2.0
dollars_out = 8.0
"""


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """No key of the person who runs the tests reaches them."""
    for name in list(os.environ):
        if name.startswith(("OPENAI_", "CAPTION_")):
            monkeypatch.delenv(name)


def make_data(runs: Path, number: int = 4, **changes: Any) -> Path:
    """A data folder as the harvest leaves it."""
    data = runs / "crowns" / "data"
    (data / "images").mkdir(parents=True)
    rows = []
    for n in range(1, number + 1):
        (data / "images" / f"p{n}.jpg").write_bytes(drawing(n))
        rows.append(
            {
                "file_name": f"images/p{n}.jpg",
                "text": f"Museum words number {n}.",
                "system_number": f"O{n}",
                "object_type": "Tiara",
                "title": "Tiara",
                "materials": ["gold", "pearl"],
                "maker": "Unknown",
                "date": f"18{n:02d}",
                "width": 320,
                "height": 240,
                **changes,
            }
        )
    write_lines(data / "metadata.jsonl", rows)
    return data


def recipe_file(runs: Path, address: str, **changes: str) -> Path:
    """A recipe that asks the service on loopback."""
    text = RECIPE.format(address=address)
    for key, value in changes.items():
        text = "\n".join(line for line in text.split("\n") if not line.startswith(f"{key} ="))
        text += f"{key} = {value}\n"
    path = runs / "crowns.toml"
    path.write_text(text, encoding="utf-8")
    return path


def caption(
    runs: Path, service: Service, changes: dict[str, str] | None = None, **options: Any
) -> None:
    """One run of the command."""
    path = recipe_file(runs, service.address, **(changes or {}))
    main(path, runs=runs, **{"yes": True, **options})


def captions(runs: Path) -> list[dict[str, Any]]:
    """What was written."""
    return read_rows(runs / "crowns" / "data" / "metadata_gpt4.jsonl")


def journal(runs: Path) -> list[dict[str, Any]]:
    """What was paid for."""
    path = runs / "crowns" / "data" / "captions" / "journal.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_picture_gets_a_caption_in_the_order_of_the_metadata(tmp_path: Path) -> None:
    make_data(tmp_path)
    with service_of() as service:
        caption(tmp_path, service)
    rows = captions(tmp_path)
    assert [row["file_name"] for row in rows] == [f"images/p{n}.jpg" for n in range(1, 5)]
    assert rows[0]["caption"] == (
        f"{PREFIX}, a tiara of gold and pearls, round seed pearls in claw settings, openwork "
        "scrolls with filigree and granulation on a curved band, neoclassical style of the early "
        "nineteenth century, good with light wear to the gilding"
    )
    assert rows[0]["caption_short"].startswith(PREFIX) and rows[0]["tokens_short"] <= 75
    assert rows[0]["captioner"] == "openai" and rows[0]["model"] == "gpt-4.1-2025-04-14"
    assert rows[0]["materials"] == ["gold", "pearls"] and rows[0]["system_number"] == "O1"


def test_the_question_is_a_small_jpeg_with_instruction_catalogue_and_schema(tmp_path: Path) -> None:
    data = make_data(tmp_path, 1)
    (data / "images" / "p1.jpg").write_bytes(drawing(1, 2500, 1800))
    with service_of() as service:
        caption(tmp_path, service)
        (body,) = service.asked
    address = body["messages"][0]["content"][1]["image_url"]["url"]
    with Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))) as picture:
        assert picture.size == (1024, 737) and picture.format == "JPEG"
    schema = body["response_format"]["json_schema"]
    assert schema["strict"] and schema["schema"]["additionalProperties"] is False
    assert set(schema["schema"]["required"]) == set(schema["schema"]["properties"])
    assert body["temperature"] == 0 and body["max_tokens"] == 600
    (question,) = service.questions
    assert '"materials": ["gold", "pearl"]' in question and '"date": "1801"' in question
    assert "Museum words" not in question and "Do not name makers" in question


def test_openai_itself_is_asked_in_its_own_dialect(tmp_path: Path) -> None:
    data = make_data(tmp_path, 1)
    table = CaptionTable()
    (question,) = questions_of(data, table)
    body = completion_body(question, table)
    assert body["max_completion_tokens"] == 600 and "max_tokens" not in body
    assert body["messages"][0]["content"][1]["image_url"]["detail"] == "high"


def test_a_second_run_makes_no_call(tmp_path: Path) -> None:
    make_data(tmp_path)
    with service_of() as service:
        caption(tmp_path, service)
        before = captions(tmp_path)
        assert len(service.asked) == 4
        caption(tmp_path, service, yes=False)
        assert len(service.asked) == 4
    assert captions(tmp_path) == before


def test_another_picture_question_or_model_is_asked_and_no_other(tmp_path: Path) -> None:
    data = make_data(tmp_path)
    with service_of(models=("gpt-4.1-2025-04-14", "other")) as service:
        caption(tmp_path, service)
        (data / "images" / "p2.jpg").write_bytes(drawing("new"))
        caption(tmp_path, service)
        assert len(service.asked) == 5 and '"date": "1802"' in service.questions[-1]
        caption(tmp_path, service, {"token_budget": "60", "concurrency": "2"})
        assert len(service.asked) == 5
        caption(tmp_path, service, {"model": '"other"'})
        assert len(service.asked) == 9


def test_the_cost_is_measured_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_data(tmp_path)
    with service_of() as service:
        caption(tmp_path, service)
    told = capsys.readouterr()
    each = (1100 * 2.0 + 120 * 8.0) / 1e6
    assert [row["dollars"] for row in journal(tmp_path)] == [pytest.approx(each)] * 4
    assert f"so far: ${4 * each:.4f}" in told.out
    assert "4 pictures and catalogue data go to http://127.0.0.1" in told.err
    record = json.loads((tmp_path / "crowns" / "run.json").read_text())
    assert record["stages"]["caption"]["dollars"] == pytest.approx(4 * each)


def test_the_limit_stops_before_the_call_and_keeps_what_is_there(tmp_path: Path) -> None:
    make_data(tmp_path)
    with service_of() as service:
        with pytest.raises(TrainingError, match="2 of 4 pictures"):
            caption(tmp_path, service, {"concurrency": "1"}, max_usd=0.016)
        assert len(service.asked) == 2 and len(captions(tmp_path)) == 2
        with pytest.raises(TrainingError, match="2 of 4 pictures"):  # not so much a run: in all
            caption(tmp_path, service, {"concurrency": "1"}, max_usd=0.016)
        assert len(service.asked) == 2
        caption(tmp_path, service, max_usd=1.0)
        assert len(service.asked) == 4 and len(captions(tmp_path)) == 4


def test_nothing_is_spent_without_a_yes(tmp_path: Path) -> None:
    make_data(tmp_path)
    with service_of() as service:
        status, told = typed_into(None, recipe_file(tmp_path, service.address), tmp_path)
        assert service.asked == []
    assert status == 2 and "add --yes" in told and "about $0.0" in told


def typed_into(terminal: int | None, path: Path, runs: Path) -> tuple[int, str]:
    """The command at a terminal, or at none; gives its status, and what it said beside its results."""
    with TemporaryFile() as told, TemporaryFile() as faults:
        child = begin("caption", path, "--runs", runs, told=told, faults=faults, typed=terminal)
        _, ended = os.waitpid(child, 0)
        faults.seek(0)
        return os.waitstatus_to_exitcode(ended), faults.read().decode()


@pytest.mark.parametrize(("typed", "asked", "status"), [(b"n\n", 0, 2), (b"y\n", 4, 0)])
def test_on_a_terminal_the_cost_is_asked_about(
    tmp_path: Path, typed: bytes, asked: int, status: int
) -> None:
    make_data(tmp_path)
    ours, theirs = pty.openpty()
    try:
        with service_of() as service:
            os.write(ours, typed)
            ended, told = typed_into(theirs, recipe_file(tmp_path, service.address), tmp_path)
            assert (len(service.asked), ended) == (asked, status)
    finally:
        os.close(ours)
        os.close(theirs)
    assert "Go on?" in told


def test_a_kill_costs_at_most_the_answers_on_their_way(tmp_path: Path) -> None:
    make_data(tmp_path, 6)
    with service_of(slow=0.2) as service:
        path = recipe_file(tmp_path, service.address, concurrency="2")
        with TemporaryFile() as told:
            child = begin("caption", path, "--runs", tmp_path, "--yes", told=told)
        until = time.monotonic() + 40
        while len(service.asked) < 4 and time.monotonic() < until:
            time.sleep(0.01)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        paid = len(journal(tmp_path))
        assert 2 <= paid <= 4
        before = len(service.asked)
        caption(tmp_path, service)
        assert len(service.asked) == before + 6 - paid
    assert len(captions(tmp_path)) == 6


BAD = {
    "refused": Reply(refusal="I cannot help with that."),
    "cut off": Reply(content='{"object_type": "tia', finish_reason="length"),
    "filtered": Reply(content="", finish_reason="content_filter"),
    "not JSON": Reply(content="A fine tiara!"),
    "failed": Reply(status=400, error={"message": "invalid image"}),
}


@pytest.mark.parametrize("outcome", BAD)
def test_a_useless_answer_is_noted_and_asked_again_only_on_request(
    tmp_path: Path, outcome: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make_data(tmp_path, 3)
    with service_of(replies={"1802": [BAD[outcome]]}) as service:
        caption(tmp_path, service)
        assert len(captions(tmp_path)) == 2
        assert f"without a caption, {outcome}: 1" in capsys.readouterr().out
        caption(tmp_path, service)
        assert len(service.asked) == 3
        caption(tmp_path, service, retry_failed=True)
        assert len(service.asked) == 4 and len(captions(tmp_path)) == 3


@pytest.mark.parametrize(
    "body", ["<html>", "[]", "{}", '{"choices": []}', '{"choices": [{"message": null}]}']
)
def test_an_answer_of_another_shape_does_not_end_the_run(tmp_path: Path, body: str) -> None:
    make_data(tmp_path, 2)
    with service_of(replies={"1801": [Reply(body=body)]}) as service:
        caption(tmp_path, service)
    assert [row["file_name"] for row in captions(tmp_path)] == ["images/p2.jpg"]


def test_a_description_with_a_missing_or_a_foreign_key_is_not_taken(tmp_path: Path) -> None:
    make_data(tmp_path, 3)
    less, more = description(), description(price="ten pounds")
    less.pop("condition")
    replies = {"1801": [Reply(content=json.dumps(less))], "1802": [Reply(content=json.dumps(more))]}
    with service_of(replies=replies) as service:
        caption(tmp_path, service)
    assert [row["outcome"] for row in journal(tmp_path)].count("not JSON") == 2


def test_a_busy_service_is_asked_again(tmp_path: Path) -> None:
    make_data(tmp_path, 2)
    busy = Reply(status=429, headers={"retry-after-ms": "5"}, error={"message": "slow down"})
    with service_of(
        replies={"1801": [busy, Reply(status=500, headers={"retry-after-ms": "5"})]}
    ) as service:
        caption(tmp_path, service)
        assert len(service.asked) == 4
    assert len(captions(tmp_path)) == 2 and len(journal(tmp_path)) == 2


def test_a_service_that_breaks_down_leaves_what_came(tmp_path: Path) -> None:
    make_data(tmp_path)
    down = [Reply(status=503, headers={"retry-after-ms": "1"})] * 6
    with service_of(replies={"1803": down}) as service:
        with pytest.raises(SourceFault, match="goes on from there"):
            caption(tmp_path, service, {"concurrency": "1"})
        assert len(captions(tmp_path)) == 2
        caption(tmp_path, service)
        assert len(service.asked) == 2 + 6 + 2
    assert len(captions(tmp_path)) == 4


def test_requests_that_are_all_refused_end_the_run_early(tmp_path: Path) -> None:
    make_data(tmp_path, 8)
    replies = {"18": [Reply(status=400, error={"message": "no json_schema here"})] * 20}
    with service_of(replies=replies) as service:
        with pytest.raises(SourceFault, match="no json_schema here"):
            caption(tmp_path, service, {"concurrency": "1"})
        assert len(service.asked) == 3


@pytest.mark.parametrize(
    ("reply", "kind", "words"),
    [
        (Reply(status=401, error={"message": "bad key"}), NotAllowed, "CAPTION_API_KEY"),
        (Reply(status=404, error={"message": "no"}), BadRecipe, "model"),
        (
            Reply(429, {"x-should-retry": "false"}, error={"code": "insufficient_quota"}),
            NotAllowed,
            "no credit",
        ),
    ],
)
def test_a_fault_that_every_picture_would_meet_is_told_at_once(
    tmp_path: Path, reply: Reply, kind: type[TrainingError], words: str
) -> None:
    make_data(tmp_path)
    with service_of(replies={"1801": [reply]}) as service:
        with pytest.raises(kind, match=words):
            caption(tmp_path, service, {"concurrency": "1"})
        assert len(service.asked) == 1


def test_without_a_key_one_is_told_how_to_go_on(tmp_path: Path) -> None:
    make_data(tmp_path)
    path = recipe_file(tmp_path, "https://api.openai.com/v1")
    with pytest.raises(NotAllowed, match="own texts") as fault:
        main(path, runs=tmp_path)
    assert "OPENAI_API_KEY" in str(fault.value) and "server of your own" in str(fault.value)


def test_openai_s_key_goes_to_no_other_server_and_into_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_data(tmp_path, 1)
    for name in ("API_KEY", "ORG_ID", "PROJECT_ID", "ADMIN_KEY"):
        monkeypatch.setenv(f"OPENAI_{name}", "sk-secret")
    with service_of() as service:
        caption(tmp_path, service)
        assert service.keys == {"Bearer none"} and "secret" not in "".join(service.heads)
    monkeypatch.setenv("CAPTION_API_KEY", "other-secret")
    with service_of(replies={"18": [Reply(status=401, error={"message": "bad"})]}) as service:
        with pytest.raises(NotAllowed) as fault:
            caption(tmp_path, service, {"seed": "1"})
        assert service.keys == {"Bearer other-secret"}
    left = b"".join(p.read_bytes() for p in (tmp_path / "crowns").rglob("*") if p.is_file())
    assert b"secret" not in left and "secret" not in str(fault.value)
    assert "secret" not in repr(TrainingSettings())
    client = client_of(CaptionTable(), TrainingSettings())
    assert client.api_key == "sk-secret" and str(client.base_url) == "https://api.openai.com/v1/"


def test_earlier_captions_stay_until_there_are_better_ones(tmp_path: Path) -> None:
    data = make_data(tmp_path, 3)
    with service_of(models=("first",)) as service:
        caption(tmp_path, service, {"model": '"first"'})
    (data / "images" / "p3.jpg").write_bytes(drawing("new"))
    replies = {"1801": [BAD["refused"]], "1803": [BAD["refused"]]}
    with service_of(replies=replies) as service:
        with pytest.raises(NotAllowed, match="--yes"):
            caption(tmp_path, service, yes=False)
        assert [row["model"] for row in captions(tmp_path)] == ["first"] * 2
        caption(tmp_path, service)
    assert [row["model"] for row in captions(tmp_path)] == ["first", CaptionTable().model]


def test_a_caption_does_not_outlive_the_only_picture_that_it_was_of(tmp_path: Path) -> None:
    data = make_data(tmp_path, 1)
    with service_of(replies={"1801": [Reply(), BAD["refused"]]}) as service:
        caption(tmp_path, service)
        (data / "images" / "p1.jpg").write_bytes(drawing("new"))
        caption(tmp_path, service)
    assert captions(tmp_path) == []


def test_a_picture_that_cannot_be_read_is_not_sent(tmp_path: Path) -> None:
    data = make_data(tmp_path, 2)
    (data / "images" / "p1.jpg").write_bytes(b"\xff\xd8 not a picture")
    with service_of() as service:
        caption(tmp_path, service)
        assert len(service.asked) == 1
    assert [row["file_name"] for row in captions(tmp_path)] == ["images/p2.jpg"]


@pytest.mark.parametrize("harm", ["spoilt", "too many pixels"])
def test_one_bad_picture_does_not_end_the_run(
    tmp_path: Path, harm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_data(tmp_path, 3, width=None)
    body = io.BytesIO()
    Image.new("RGB", (300, 200)).save(body, "PNG")
    spoilt = body.getvalue().replace(b"IDAT", b"\x00\x00AT")
    (data / "images" / "p2.jpg").write_bytes(spoilt if harm == "spoilt" else body.getvalue())
    if harm != "spoilt":
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 29_000)
        for name in ("p1", "p3"):
            Image.new("RGB", (64, 64)).save(data / "images" / f"{name}.jpg")
    with service_of() as service:
        caption(tmp_path, service)
    assert [row["file_name"] for row in captions(tmp_path)] == ["images/p1.jpg", "images/p3.jpg"]
    outcomes = {row["file_name"]: row["outcome"] for row in journal(tmp_path)}
    assert outcomes["images/p2.jpg"] == "failed"


def test_a_picture_too_large_for_a_server_is_that_pictures_fault(tmp_path: Path) -> None:
    make_data(tmp_path, 3)
    with service_of() as service:
        service.replies["1802"] = [Reply(status=413, error={"message": "too large"})]
        caption(tmp_path, service)
    assert len(captions(tmp_path)) == 2 and len(service.asked) == 3


def test_two_runs_do_not_pay_for_the_same_pictures(tmp_path: Path) -> None:
    data = make_data(tmp_path, 2)
    with service_of() as service, alone(data):
        with pytest.raises(TrainingError, match=f"Another process .{os.getpid()}. works in"):
            caption(tmp_path, service)
        assert not service.asked


def test_a_journal_cut_by_a_kill_loses_its_last_line_only(tmp_path: Path) -> None:
    data = make_data(tmp_path)
    with service_of() as service:
        caption(tmp_path, service)
        path = data / "captions" / "journal.jsonl"
        path.write_bytes(path.read_bytes()[:-20])
        caption(tmp_path, service)
        assert len(service.asked) == 5
    assert len(journal(tmp_path)) == 4


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    data = make_data(tmp_path)
    part = data / "metadata_gpt4.jsonl.part"
    part.symlink_to("/dev/full")  # every write: ENOSPC
    with service_of() as service:
        with pytest.raises(TrainingError, match="disk is full"):
            caption(tmp_path, service)
        part.unlink(missing_ok=True)
        caption(tmp_path, service)
        assert len(service.asked) == 4


def test_a_folder_without_pictures_or_with_a_broken_line_is_told(tmp_path: Path) -> None:
    with service_of() as service:
        with pytest.raises(BadCorpus, match="harvest_vam"):
            caption(tmp_path, service)
        data = make_data(tmp_path, 1)
        (data / "images" / "p1.jpg").unlink()
        with pytest.raises(BadCorpus, match="anew"):
            caption(tmp_path, service)
        (data / "metadata.jsonl").write_text('{"file_name": "images/p1.jpg"}\n{"text": "x"}\n')
        with pytest.raises(BadCorpus, match="line 2"):
            caption(tmp_path, service)


def test_a_file_name_that_leaves_the_folder_is_not_read(tmp_path: Path) -> None:
    data = make_data(tmp_path, 1)
    (tmp_path / "crowns" / "secret.jpg").write_bytes(drawing("secret"))
    rows = [*read_rows(data / "metadata.jsonl"), {"file_name": "../secret.jpg"}]
    write_lines(data / "metadata.jsonl", rows)
    assert len(questions_of(data, CaptionTable())) == 1


def test_a_prefix_beyond_the_budget_is_refused_before_anything_is_paid(tmp_path: Path) -> None:
    make_data(tmp_path)
    with service_of() as service:
        with pytest.raises(BadRecipe, match="prefix alone"):
            caption(tmp_path, service, {"prefix": '"' + "a very long prefix " * 20 + '"'})
        assert service.asked == []
