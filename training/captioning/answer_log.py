"""Keep every answer that was paid for on disk: nothing is asked twice."""

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from training.captioning.description import Answer
from training.captioning.questions import Question
from training.museum.retention import WORK
from training.run.json_lines import add_lines, read_lines
from training.run.record import now

JOURNAL = "journal.jsonl"


class Journal:
    """Append answers to a file; the last answer to a question stands."""

    def __init__(self, data: Path) -> None:
        (data / WORK).mkdir(parents=True, exist_ok=True)
        self.path = data / WORK / JOURNAL
        rows = read_lines(self.path)
        self.answers = {row["key"]: answer_in(row) for row in rows}
        self.dollars = sum(float(row.get("dollars", 0.0)) for row in rows)

    def needs(self, question: Question, retry_failed: bool) -> bool:
        answer = self.answers.get(question.key)
        return answer is None or (retry_failed and answer.outcome != "ok")

    def add(self, question: Question, answer: Answer, model: str, dollars: float) -> None:
        """Write one answer, on disk before this returns."""
        about = {"key": question.key, "file_name": question.file_name, "model": model}
        add_lines(self.path, {**about, **answer.model_dump(), "dollars": dollars, "at": now()})
        self.answers[question.key] = answer
        self.dollars += dollars


def answer_in(row: dict[str, Any]) -> Answer:
    """Read a line; a description of another shape counts as not understood."""
    try:
        answer = Answer.model_validate(row)
    except ValidationError:
        known = {key: row[key] for key in ("raw", "tokens_in", "tokens_out") if key in row}
        return Answer(outcome="not JSON" if row["outcome"] == "ok" else "failed", **known)
    if answer.outcome == "ok" and answer.description is None:
        return answer.model_copy(update={"outcome": "not JSON"})
    return answer
