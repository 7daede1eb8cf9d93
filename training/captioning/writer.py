"""From questions to `metadata_gpt4.jsonl`: ask what is open, keep each answer, compose, write."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from rich.progress import Progress, track

from training.captioning.chat_completions import Captioner
from training.captioning.composition import compose, count, shorten
from training.captioning.cost import MOST_IN, Purse
from training.captioning.description import Answer, Description
from training.captioning.questions import Question
from training.errors import SourceFault
from training.museum.harvest_recipe import CaptionTable
from training.museum.metadata_rows import CAPTIONS, read_rows
from training.run.json_lines import add_lines, read_lines, write_lines
from training.run.record import now

WORK = "captions"  # the working folder in a data folder
JOURNAL = "journal.jsonl"
FAILED_IN_A_ROW = 3  # refused requests at the start that mean: the request itself is wrong


class Journal:
    """Keep every answer that was paid for on disk; the last answer to a question stands."""

    def __init__(self, data: Path) -> None:
        self.path = data / WORK / JOURNAL
        self.path.parent.mkdir(parents=True, exist_ok=True)
        rows = read_lines(self.path)
        self.answers = {row["key"]: answer_in(row) for row in rows}
        self.dollars = sum(float(row.get("dollars", 0.0)) for row in rows)

    def needs(self, question: Question, retry_failed: bool) -> bool:
        answer = self.answers.get(question.key)
        return answer is None or (retry_failed and answer.outcome != "ok")

    def add(self, question: Question, answer: Answer, model: str, dollars: float) -> None:
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


def ask(questions: list[Question], captioner: Captioner, journal: Journal, purse: Purse) -> bool:
    """Ask a few at a time, and keep each answer; tells whether the limit held some back."""
    table = captioner.table
    most = purse.price(MOST_IN, table.most_tokens)
    outcomes: list[str] = []
    with Progress() as progress, ThreadPoolExecutor(table.concurrency) as pool:
        task = progress.add_task("writing captions", total=len(questions))
        while begun := questions[len(outcomes) : len(outcomes) + table.concurrency]:
            begun = begun[: purse.affords(len(begun), most)]
            if not begun:
                return True
            under_way = [(asked, pool.submit(captioner.describe, asked)) for asked in begun]
            wait([future for _, future in under_way])
            faults = []  # told once what was paid for is on disk
            for question, future in under_way:
                if fault := future.exception():
                    faults.append(fault)
                    continue
                answer = future.result()
                dollars = purse.price(answer.tokens_in, answer.tokens_out)
                purse.spent += dollars
                journal.add(question, answer, table.model, dollars)
                outcomes.append(answer.outcome)
            if faults:
                raise faults[0]
            if len(outcomes) >= FAILED_IN_A_ROW and set(outcomes) == {"failed"}:
                raise SourceFault(
                    f"The first {len(outcomes)} requests were all refused ({answer.raw}). Check "
                    "[caption]: detail and model must fit the server. Then run with --retry-failed."
                )
            progress.advance(task, len(begun))
    return False


def write_captions(
    data: Path, questions: list[Question], journal: Journal, table: CaptionTable
) -> dict[str, Any]:
    """Write a line for every picture that has an answer; the others keep the caption they had."""
    path = data / CAPTIONS
    before = {row["file_name"]: row for row in read_rows(path)} if path.exists() else {}
    rows, without = [], Counter[str]()
    for question in track(questions, "composing captions", transient=True):
        answer = journal.answers.get(question.key)
        old = before.pop(question.file_name, {})
        if answer and answer.description:
            rows.append(row_of(question, answer.description, table))
        elif old.get("sha256") == question.sha256:
            rows.append(old)
        else:
            without[answer.outcome if answer else "not asked"] += 1
    if rows or path.exists():
        write_lines(path, [*rows, *before.values()])
    return {"captions": len(rows), "without": dict(without)}


def row_of(question: Question, description: Description, table: CaptionTable) -> dict[str, Any]:
    caption = compose(description, table.prefix)
    short = shorten(description, table.prefix, table.token_budget)
    return {
        "file_name": question.file_name,
        "caption": caption,
        "caption_short": short,
        "tokens": count(caption),
        "tokens_short": count(short),
        "captioner": "openai",
        "model": table.model,
        "sha256": question.sha256,
        "system_number": question.row.get("system_number", ""),
        **description.model_dump(exclude={"uncertain"}),
    }
