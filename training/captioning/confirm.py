"""Say what is about to be sent where and what it will cost, and go on only if that is agreed to."""

import sys
from collections.abc import Callable

import typer
from rich.console import Console

from training.captioning.cost import USUAL_ANSWER, SpendingLimit
from training.captioning.description import Answer
from training.captioning.questions import Question
from training.captioning.tables import CaptionTable
from training.captioning.writer import estimate, worst
from training.errors import NotAllowed


def told() -> Console:
    """Print questions and prices beside the results, not among them."""
    return Console(stderr=True, soft_wrap=True, highlight=False, markup=False)


def require_agreement(
    questions: list[Question], purse: SpendingLimit, table: CaptionTable, yes: bool
) -> None:
    """Raise NotAllowed unless the person at the keyboard agrees to the cost."""
    if table.captioner != "openai" or not questions:
        return
    tokens = sum(estimate(question, table) for question in questions)
    dollars = purse.prices.of(tokens, USUAL_ANSWER * len(questions))
    most = sum(purse.prices.of(*worst(question, table)) for question in questions)
    noun = "picture" if len(questions) == 1 else "pictures"
    told().print(
        f"{len(questions)} {noun} and catalogue data go to {table.address} ({table.model}): about "
        f"${dollars:.2f}, at most ${most:.2f}. Spent on this data set so far: ${purse.spent:.2f}."
    )
    if dollars == 0 or yes:
        return
    if not sys.stdin.isatty():
        raise NotAllowed(
            "Nobody is there to agree to the cost: add --yes, and --max-usd as a limit."
        )
    if not typer.confirm("Go on?", err=True):
        raise NotAllowed("Nothing was sent and nothing was spent.")


def price_teller(purse: SpendingLimit, number: int) -> Callable[[Answer], None]:
    """Tell the measured price of all when the first answer comes."""

    def tell(answer: Answer) -> None:
        dollars = purse.prices.of(answer.tokens_in, answer.tokens_out) * number
        if dollars:
            told().print(
                f"The first picture counted {answer.tokens_in} tokens in and {answer.tokens_out} "
                f"out: about ${dollars:.2f} for all {number}."
            )

    return tell
