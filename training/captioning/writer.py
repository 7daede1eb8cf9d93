"""From questions to `metadata_gpt4.jsonl`: ask what is open, journal, compose, write."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from rich.progress import Progress, track

from training.captioning import Captioner
from training.captioning.answer_log import Journal
from training.captioning.composition import compose, count, shorten
from training.captioning.cost import MOST_IN, Purse
from training.captioning.description import Description
from training.captioning.questions import Question
from training.captioning.tables import CaptionTable
from training.errors import SourceFault
from training.museum.metadata_rows import CAPTIONS, read_rows
from training.museum.retention import CATALOGUE as CATALOGUE_NAME
from training.run.json_lines import write_lines

FAILED_IN_A_ROW = 3  # refused requests at the start that mean: the request itself is wrong


def ask(
    questions: list[Question],
    captioner: Captioner,
    journal: Journal,
    purse: Purse,
    table: CaptionTable,
) -> bool:
    """Ask a few at a time, and keep each answer; tells whether the limit held some back."""
    most = purse.price(MOST_IN, table.most_tokens)
    outcomes: list[str] = []
    with Progress() as progress, ThreadPoolExecutor(table.concurrency) as pool:
        task = progress.add_task("writing captions", total=len(questions))
        while begun := questions[len(outcomes) : len(outcomes) + table.concurrency]:
            begun = begun[: purse.affords(len(begun), most)]
            if not begun:
                return True
            under_way = [
                (question, pool.submit(captioner.describe, question)) for question in begun
            ]
            wait([future for _, future in under_way])
            faults = []  # told once what was paid for is on disk
            for question, future in under_way:
                if fault := future.exception():
                    faults.append(fault)
                    continue
                answer = future.result()
                dollars = purse.price(answer.tokens_in, answer.tokens_out)
                purse.spent += dollars
                journal.add(question, answer, captioner.model, dollars)
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
    data: Path,
    questions: list[Question],
    captioner: Captioner,
    journal: Journal,
    table: CaptionTable,
) -> dict[str, Any]:
    """Write a line for every picture that has an answer, in the order of the metadata.

    Without an answer a picture keeps the caption it had. Lines of pictures that are no longer here
    stay, unless they are in the museum's words. Gives the number of captions, and what has none.
    """
    path = data / CAPTIONS
    before = {row["file_name"]: row for row in read_rows(path)} if path.exists() else {}
    rows, without = [], Counter[str]()
    for question in track(questions, "composing captions", transient=True):
        answer = (
            journal.answers.get(question.key) if captioner.kept else captioner.describe(question)
        )
        old = before.pop(question.file_name, {})
        if answer and answer.description:
            rows.append(row_of(question, answer.description, captioner, table))
        elif old.get("sha256") == question.sha256:
            rows.append(old)
        else:
            without[answer.outcome if answer else "not asked"] += 1
    gone = [row for row in before.values() if row.get("captioner") != CATALOGUE_NAME]
    if rows or path.exists():
        write_lines(path, [*rows, *gone])
    return {"captions": len(rows), "without": dict(without)}


def row_of(
    question: Question, description: Description, captioner: Captioner, table: CaptionTable
) -> dict[str, Any]:
    caption = compose(description, table.prefix)
    short = shorten(description, table.prefix, table.token_budget)
    return {
        "file_name": question.file_name,
        "caption": caption,
        "caption_short": short,
        "tokens": count(caption),
        "tokens_short": count(short),
        "captioner": captioner.name,
        "model": captioner.model,
        "sha256": question.sha256,
        "system_number": question.row.get("system_number", ""),
        **description.model_dump(exclude={"uncertain"}),
    }
