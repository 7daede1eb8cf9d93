"""From questions to `metadata_gpt4.jsonl`: ask what is open, journal, compose, check, write."""

from collections import Counter
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.progress import Progress, track

from training.captioning import Captioner
from training.captioning.answer_log import Journal
from training.captioning.catalogue import CatalogueCaptioner
from training.captioning.checks import agreement, flag_repeats, flags_of
from training.captioning.composition import compose, count, shorten
from training.captioning.cost import SpendingLimit, tell_price, worst
from training.captioning.description import Answer
from training.captioning.questions import Question
from training.captioning.tables import CaptionTable
from training.errors import SourceFault
from training.museum.metadata_rows import CAPTIONS, read_rows
from training.museum.retention import CATALOGUE as CATALOGUE_NAME
from training.run.json_lines import write_lines

FAILED_IN_A_ROW = 3  # refused requests at the start that mean: the request itself is wrong


@dataclass(slots=True, kw_only=True)
class Asking:
    captioner: Captioner
    journal: Journal
    purse: SpendingLimit
    table: CaptionTable
    over: bool = False
    failed: int = 0
    asked: int = 0
    number: int = 0

    def ask(self, questions: list[Question]) -> None:
        under_way: dict[Future[Answer], tuple[Question, float]] = {}
        self.number = len(questions)
        with Progress() as progress, ThreadPoolExecutor(self.most()) as pool:
            task = progress.add_task("writing captions", total=len(questions))
            try:
                for question in questions:
                    held = self.purse.hold(*worst(question, self.table))
                    if held is None:
                        self.over = True
                        break
                    under_way[pool.submit(self.captioner.describe, question)] = question, held
                    # The first answer is looked at alone: it tells the true price.
                    if len(under_way) >= (self.most() if self.asked else 1):
                        progress.advance(task, self.settle(under_way, FIRST_COMPLETED))
            finally:
                while under_way:
                    progress.advance(task, self.settle(under_way, "ALL_COMPLETED"))

    def most(self) -> int:
        return self.table.concurrency if self.captioner.name == "openai" else 1

    def settle(self, under_way: dict[Future[Answer], tuple[Question, float]], when: str) -> int:
        """Journal what is answered; raise a fault when the other answers are on disk."""
        done, _ = wait(under_way, return_when=when)
        fault: BaseException | None = None
        for future in done:
            question, held = under_way.pop(future)
            if error := future.exception():
                self.purse.pay(held, 0, 0)
                fault = fault or error
                continue
            self.take(question, future.result(), held)
        if fault:
            raise fault
        return len(done)

    def take(self, question: Question, answer: Answer, held: float) -> None:
        dollars = self.purse.pay(held, answer.tokens_in, answer.tokens_out)
        self.failed = self.failed + 1 if answer.outcome == "failed" else 0
        if self.failed >= FAILED_IN_A_ROW and self.asked == self.failed - 1:
            raise SourceFault(
                f"The first {self.failed} requests were all refused ({answer.raw}). Check "
                "[caption]: structured, detail and model must fit the server. Then run with "
                "--retry-failed."
            )
        self.asked += 1
        self.journal.add(question, answer, self.captioner.model, dollars)
        if self.asked == 1:
            tell_price(self.purse, answer, self.number)


def write_captions(
    data: Path,
    questions: list[Question],
    captioner: Captioner,
    journal: Journal,
    table: CaptionTable,
    fill: bool = False,
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Write a line for every picture that has an answer, in the order of the metadata.

    Without an answer a picture keeps the caption it had; with `fill` it gets the catalogue's.
    Lines of pictures that are no longer here stay, unless they are in the museum's words. Gives the
    lines, and what came out: what has no caption and why, flags, agreement with the catalogue.
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
            rows.append(row_of(question, answer, captioner, table))
        elif old.get("sha256") == question.sha256:
            rows.append(old)
        elif fill:
            filler = CatalogueCaptioner()
            rows.append(row_of(question, filler.describe(question), filler, table))
        else:
            without[answer.outcome if answer else "not asked"] += 1
    flag_repeats(rows)
    gone = [row for row in before.values() if row.get("captioner") != CATALOGUE_NAME]
    if rows or path.exists():
        write_lines(path, [*rows, *gone])
    return rows, {"captions": len(rows), "without": dict(without), **judged(rows, questions)}


def judged(rows: list[dict[str, Any]], questions: list[Question]) -> dict[str, Any]:
    """Count the flags, and average the share of the catalogue's materials that were named."""
    known = {question.file_name: question.row.get("materials") or [] for question in questions}
    shares = [agreement(row["materials"], known[row["file_name"]]) for row in rows]
    agreed = [share for share in shares if share is not None]
    kinds = Counter(flag.partition(":")[0] for row in rows for flag in row["flags"])
    return {
        "flags": dict(kinds.most_common()),
        "materials_agreement": sum(agreed) / len(agreed) if agreed else None,
    }


def row_of(
    question: Question, answer: Answer, captioner: Captioner, table: CaptionTable
) -> dict[str, Any]:
    description = answer.description
    if description is None:
        raise ValueError("an answer without a description has no caption")
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
        "flags": flags_of(caption, short, description, question.row, table),
        "sha256": question.sha256,
        "system_number": question.row.get("system_number", ""),
        **description.model_dump(exclude={"uncertain"}),
    }
