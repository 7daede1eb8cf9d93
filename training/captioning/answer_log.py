"""Every answer that was paid for, on disk before the next question: nothing is asked twice."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from training.captioning.description import Answer, Description, Outcome
from training.captioning.questions import Question
from training.museum.retention import WORK
from training.runs.json_lines import add_lines, read_lines
from training.runs.record import now

JOURNAL = "journal.jsonl"
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One answer in the journal; `dollars` as counted when it came."""

    key: str
    file_name: str
    answer: Answer
    dollars: float


class Journal:
    """Append answers to a file; the last answer to a question stands."""

    def __init__(self, data: Path) -> None:
        (data / WORK).mkdir(parents=True, exist_ok=True)
        self.path = data / WORK / JOURNAL
        entries = [entry_of(row) for row in read_lines(self.path)]
        self.entries = {entry.key: entry for entry in entries}
        self.dollars = sum(entry.dollars for entry in entries)

    def answer(self, key: str) -> Answer | None:
        entry = self.entries.get(key)
        return entry.answer if entry else None

    def needs(self, question: Question, retry_failed: bool) -> bool:
        answer = self.answer(question.key)
        return answer is None or (retry_failed and answer.outcome != "ok")

    def add(self, question: Question, answer: Answer, model: str, dollars: float) -> None:
        """Write one answer, on disk before this returns."""
        description = answer.description.model_dump() if answer.description else None
        row = {
            "key": question.key,
            "file_name": question.file_name,
            "model": model,
            "outcome": answer.outcome,
            "description": description,
            "raw": answer.raw,
            "tokens_in": answer.tokens_in,
            "tokens_out": answer.tokens_out,
            "request_id": answer.request_id,
            "dollars": dollars,
            "at": now(),
        }
        add_lines(self.path, row)
        entry = entry_of(row)
        self.entries[entry.key] = entry
        self.dollars += dollars


def entry_of(row: dict[str, Any]) -> Entry:
    """A line as an entry; a description of another shape counts as not understood."""
    try:
        description = row["description"] and Description.model_validate(row["description"])
    except ValidationError:
        description = None
    outcome: Outcome = next((known for known in OUTCOMES if known == row["outcome"]), "failed")
    answer = Answer(
        outcome="not JSON" if outcome == "ok" and description is None else outcome,
        description=description or None,
        raw=row.get("raw", ""),
        tokens_in=row.get("tokens_in", 0),
        tokens_out=row.get("tokens_out", 0),
        request_id=row.get("request_id", ""),
    )
    return Entry(
        key=row["key"],
        file_name=row["file_name"],
        answer=answer,
        dollars=float(row.get("dollars", 0.0)),
    )
