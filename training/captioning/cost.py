"""What looking at pictures costs: before the first call by rule, afterwards by the bill.

Image tokens by OpenAI's rules for "high" detail: fit into 2048², shorter side to 768, then 85 and
170 for each tile of 512²; the small models count 32² patches, at most 1536, times a factor.
"""

import math
import re
import sys
from dataclasses import dataclass

import typer
from PIL import Image
from rich.console import Console

from training.captioning.description import Answer
from training.captioning.questions import Question
from training.captioning.tables import OPENAI, CaptionTable
from training.errors import BadRecipe, NotAllowed
from training.images.data.folder import UNREADABLE

# Dollars per million tokens in and out, OpenAI's price list as read in November 2026.
PRICES = {"gpt-4.1": (2.0, 8.0), "gpt-4.1-mini": (0.4, 1.6), "gpt-4.1-nano": (0.1, 0.4)}
PATCH_FACTORS = {"gpt-4.1-mini": 1.62, "gpt-4.1-nano": 2.46}
USUAL_ANSWER = 220  # tokens
LETTERS_A_TOKEN = 4.0
SCHEMA_TOKENS = 250  # what the answer's schema adds to the question
SLACK = 1.3  # an estimate may be short by this much and still hold the limit


@dataclass(frozen=True, slots=True)
class Prices:
    into: float
    out: float

    def of(self, tokens_in: int, tokens_out: int) -> float:
        """Dollars.

        >>> Prices(2.0, 8.0).of(1_000_000, 500_000)
        6.0
        """
        return (tokens_in * self.into + tokens_out * self.out) / 1e6


def family(model: str) -> str:
    """Take the date off a model's name.

    >>> family("gpt-4.1-mini-2025-04-14")
    'gpt-4.1-mini'
    """
    return re.sub(r"-\d{4}-\d{2}-\d{2}$", "", model)


def prices_of(table: CaptionTable) -> Prices:
    """Take the recipe's prices, else the list's; another server costs nothing unless stated."""
    own = table.captioner == "openai" and table.address.rstrip("/") == OPENAI
    listed = PRICES.get(family(table.model)) if own else (0.0, 0.0)
    into, out = table.dollars_in, table.dollars_out
    if (into is None or out is None) and listed is None:
        raise BadRecipe(
            f"The price of {table.model} is not known here. Look it up, and set [caption] "
            "dollars_in and dollars_out (per million tokens)."
        )
    known = listed or (0.0, 0.0)
    return Prices(known[0] if into is None else into, known[1] if out is None else out)


def picture_tokens(width: int, height: int, detail: str, model: str) -> int:
    """Count one picture's tokens.

    >>> [picture_tokens(w, h, "high", "gpt-4.1") for w, h in [(2500, 1875), (768, 768), (512, 512)]]
    [765, 765, 255]
    """
    if factor := PATCH_FACTORS.get(family(model)):
        patches = math.ceil(width / 32) * math.ceil(height / 32)
        return math.ceil(min(patches, 1536) * factor)
    if detail == "low":
        return 85
    shrink = min(1.0, 2048 / max(width, height))
    shrink *= min(1.0, 768 / (min(width, height) * shrink))
    tiles = math.ceil(width * shrink / 512) * math.ceil(height * shrink / 512)
    return 85 + 170 * tiles


def question_tokens(text: str, width: int, height: int, table: CaptionTable) -> int:
    """Estimate what one question counts as; the sent size, not the file's."""
    shrink = min(1.0, table.longest_side / max(width, height))
    size = max(1, round(width * shrink)), max(1, round(height * shrink))
    words = math.ceil(len(text) / LETTERS_A_TOKEN) + SCHEMA_TOKENS
    return words + picture_tokens(*size, table.detail, table.model)


def worst(question: Question, table: CaptionTable) -> tuple[int, int]:
    """Give the most tokens that a question can count as, in and out."""
    return round(estimate(question, table) * SLACK), table.most_tokens


def estimate(question: Question, table: CaptionTable) -> int:
    """Estimate a question's tokens; a picture that cannot be opened counts as a large one."""
    width, height = question.row.get("width"), question.row.get("height")
    if not (isinstance(width, int) and isinstance(height, int)):
        try:
            with Image.open(question.path) as picture:
                width, height = picture.size
        except UNREADABLE:
            width = height = table.longest_side
    return question_tokens(question.text, width, height, table)


@dataclass
class SpendingLimit:
    """Let no call begin that could take the sum over its limit."""

    prices: Prices
    limit: float | None
    spent: float = 0.0
    held: float = 0.0

    def hold(self, tokens_in: int, tokens_out: int) -> float | None:
        """Set the most that a call can cost aside; None when the limit does not allow it."""
        most = self.prices.of(tokens_in, tokens_out)
        if self.limit is not None and self.spent + self.held + most > self.limit:
            return None
        self.held += most
        return most

    def pay(self, held: float, tokens_in: int, tokens_out: int) -> float:
        """Replace what was set aside by what the service counted; gives the dollars."""
        self.held -= held
        dollars = self.prices.of(tokens_in, tokens_out)
        self.spent += dollars
        return dollars


def console() -> Console:
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
    console().print(
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


def tell_price(limit: SpendingLimit, answer: Answer, number: int) -> None:
    """Say what all pictures cost, measured by the first answer."""
    dollars = limit.prices.of(answer.tokens_in, answer.tokens_out) * number
    if dollars:
        console().print(
            f"The first picture counted {answer.tokens_in} tokens in and {answer.tokens_out} "
            f"out: about ${dollars:.2f} for all {number}."
        )
