"""OpenAI's Batch API: half the price, an answer within a day, and no question sent twice.

Limits of a batch's file: 200 MB and 50,000 requests. What is under way stands in `batches.json`
before it is sent; a batch that was created just before a kill is found again by its mark.
"""

import json
import secrets
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import openai
from rich.console import Console

from engine.files import write_json
from training.captioning.answer_log import Journal
from training.captioning.chat_completions import ServiceCaptioner, told
from training.captioning.cost import Prices
from training.captioning.description import Answer, read_completion
from training.captioning.questions import Question, completion_body
from training.errors import SourceFault
from training.museum.retention import WORK

STATE = "batches.json"
MOST_BYTES = 190_000_000
MOST_REQUESTS = 50_000
ENDPOINT: Final = "/v1/chat/completions"
KEPT_THERE = 7 * 86400  # seconds until OpenAI deletes the sent pictures, should we not
ENDED = ("completed", "failed", "expired", "cancelled")
MARKS_LOOKED_AT = 100  # newest batches searched for one of ours

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """Know a batch under way; `batch` is empty from before it is sent until its id is known."""

    mark: str
    keys: tuple[str, ...]
    batch: str = ""


class Batches:
    def __init__(self, data: Path, captioner: ServiceCaptioner, journal: Journal) -> None:
        self.folder = data / WORK
        self.client = captioner.client
        self.captioner = captioner
        self.journal = journal
        self.folder.mkdir(parents=True, exist_ok=True)
        state = self.folder / STATE
        rows = json.loads(state.read_text(encoding="utf-8")) if state.exists() else []
        self.sent = {row["mark"]: Sent(**{**row, "keys": tuple(row["keys"])}) for row in rows}

    def ask(self, call: Callable[[], Result]) -> Result:
        """Make one call; its fault is told in words that say what to do."""
        try:
            return call()
        except openai.OpenAIError as error:
            raise told(error, self.captioner.table) from error

    @property
    def under_way(self) -> frozenset[str]:
        return frozenset(key for sent in self.sent.values() for key in sent.keys)

    def note(self, sent: Sent, ended: bool = False) -> None:
        """Write down what is under way."""
        self.sent |= {sent.mark: sent}
        if ended:
            del self.sent[sent.mark]
        write_json(self.folder / STATE, [asdict(batch) for batch in self.sent.values()])

    def submit(self, questions: list[Question]) -> None:
        new = [question for question in questions if question.key not in self.under_way]
        lines = (line_of(question, self.captioner, self.journal) for question in new)
        for shard in shards(filter(None, lines)):
            self.send(shard)

    def send(self, shard: list[tuple[str, bytes]]) -> None:
        fresh = Sent(mark=secrets.token_hex(16), keys=tuple(key for key, _ in shard))
        self.note(fresh)
        with tempfile.TemporaryFile(dir=self.folder) as file:
            file.writelines(line for _, line in shard)
            file.seek(0)
            uploaded = self.ask(
                lambda: self.client.files.create(
                    file=("captions.jsonl", file),
                    purpose="batch",
                    expires_after={"anchor": "created_at", "seconds": KEPT_THERE},
                )
            )
        made = self.ask(
            lambda: self.client.batches.create(
                input_file_id=uploaded.id,
                endpoint=ENDPOINT,
                completion_window="24h",
                metadata={"mark": fresh.mark},
            )
        )
        self.note(replace(fresh, batch=made.id))

    def marked(self, mark: str) -> str:
        """Find the id of the batch that bears a mark; empty when there is none."""
        newest = self.ask(lambda: self.client.batches.list(limit=MARKS_LOOKED_AT).data)
        return next((b.id for b in newest if (b.metadata or {}).get("mark") == mark), "")

    def collect(self, by_key: dict[str, Question], prices: Prices) -> bool:
        """Take in what has ended; tells whether nothing is under way any more."""
        for sent in list(self.sent.values()):
            if not sent.batch:  # a kill came before its id was known
                sent = replace(sent, batch=self.marked(sent.mark))
                self.note(sent, ended=not sent.batch)
                if not sent.batch:
                    continue
            batch = self.ask(partial(self.client.batches.retrieve, sent.batch))
            if batch.status not in ENDED:
                continue
            results = list(filter(None, (batch.output_file_id, batch.error_file_id)))
            for file in results:
                self.take(file, by_key, prices)
            self.note(sent, ended=True)
            for file in (batch.input_file_id, *results):
                with suppress(openai.OpenAIError):  # it expires there by itself
                    self.client.files.delete(file)
            if batch.status == "failed":
                errors = (batch.errors.data or []) if batch.errors else []
                why = "; ".join(str(error.message) for error in errors[:3]) or "no reason given"
                raise SourceFault(f"The batch was refused: {why}. Nothing was charged.")
        return not self.sent

    def take(self, file: str, by_key: dict[str, Question], prices: Prices) -> None:
        text = self.ask(lambda: self.client.files.content(file).text)
        for line in text.split("\n"):
            key, answer = answer_of(line)
            question = by_key.get(key)
            if question and answer and self.journal.needs(question, retry_failed=True):
                dollars = prices.of(answer.tokens_in, answer.tokens_out)
                self.journal.add(question, answer, self.captioner.model, dollars)

    def progress(self) -> tuple[int, int]:
        found = [
            self.ask(partial(self.client.batches.retrieve, s.batch)) for s in self.sent.values()
        ]
        counts = [batch.request_counts for batch in found]
        return (
            sum(count.completed + count.failed for count in counts if count),
            sum(count.total for count in counts if count),
        )


def line_of(
    question: Question, captioner: ServiceCaptioner, journal: Journal
) -> tuple[str, bytes] | None:
    """Write one request; a picture that cannot be read is journaled and left out."""
    try:
        body = completion_body(question, captioner.table, captioner.own)
    except OSError as error:
        answer = Answer(outcome="failed", raw=f"the picture cannot be read: {error}")
        journal.add(question, answer, captioner.model, 0.0)
        return None
    request = {"custom_id": question.key, "method": "POST", "url": ENDPOINT, "body": body}
    return question.key, json.dumps(request).encode() + b"\n"


def shards(
    lines: Iterable[tuple[str, bytes]],
    most_bytes: int = MOST_BYTES,
    most_requests: int = MOST_REQUESTS,
) -> Iterator[list[tuple[str, bytes]]]:
    """Cut requests into files within both limits, their order kept."""
    shard: list[tuple[str, bytes]] = []
    size = 0
    for key, line in lines:
        if shard and (size + len(line) > most_bytes or len(shard) >= most_requests):
            yield shard
            shard, size = [], 0
        shard.append((key, line))
        size += len(line)
    if shard:
        yield shard


def answer_of(line: str) -> tuple[str, Answer | None]:
    """Read a result line; no answer for a request that was never run, to be sent again."""
    if not line.strip():
        return "", None
    row: dict[str, Any] = json.loads(line)
    response = row.get("response") or {}
    key = str(row.get("custom_id", ""))
    if response.get("status_code") == 200:
        return key, read_completion(response.get("body"), str(response.get("request_id", "")))
    if response.get("status_code") in (400, 422):
        return key, Answer(outcome="failed", raw=json.dumps(response.get("body"))[:2000])
    return key, None


def wait(
    batches: Batches,
    by_key: dict[str, Question],
    prices: Prices,
    seconds: float,
) -> None:
    with Console(stderr=True).status("waiting for the batch") as status:
        while not batches.collect(by_key, prices):
            done, total = batches.progress()
            status.update(f"waiting for the batch: {done} of {total} answered")
            time.sleep(seconds)
