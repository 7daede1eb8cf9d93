"""What looking at pictures costs: before the first call by rule, afterwards by the bill."""

import re
import sys
from dataclasses import dataclass

import typer
from rich.console import Console

from training.errors import BadRecipe, NotAllowed
from training.museum.harvest_recipe import CaptionTable

# Dollars per million tokens in and out, OpenAI's price list as read in November 2026.
PRICES = {"gpt-4.1": (2.0, 8.0), "gpt-4.1-mini": (0.4, 1.6), "gpt-4.1-nano": (0.1, 0.4)}
# A picture of 1024 pixels counts 765 tokens with gpt-4.1, up to 2,520 with the small models; the
# instruction, the catalogue's facts and the schema of the answer come to some 500.
USUAL = (1300, 220)  # tokens of a question and its answer
MOST_IN = 4000  # tokens that no question reaches


@dataclass
class Purse:
    """Count what was spent, in dollars, and let nothing begin that could pass the limit."""

    into: float  # dollars per million tokens
    out: float
    limit: float | None = None
    spent: float = 0.0

    def price(self, tokens_in: int, tokens_out: int) -> float:
        return (tokens_in * self.into + tokens_out * self.out) / 1e6

    def affords(self, calls: int, most: float) -> int:
        """Say how many of the calls may begin, of which each costs `most` at the most."""
        if self.limit is None or most == 0:
            return calls
        return int(max(0.0, min(calls, (self.limit - self.spent) / most)))


def purse_of(table: CaptionTable, limit: float | None, spent: float) -> Purse:
    """Take the recipe's prices, else the list's; another server costs nothing unless stated."""
    undated = re.sub(r"-\d{4}-\d{2}-\d{2}$", "", table.model)
    listed = PRICES.get(undated, (None, None)) if table.own else (0.0, 0.0)
    stated = (table.dollars_in, table.dollars_out)
    into, out = (at if at is not None else usual for at, usual in zip(stated, listed, strict=True))
    if into is None or out is None:
        raise BadRecipe(
            f"The price of {table.model} is not known here. Look it up, and set [caption] "
            "dollars_in and dollars_out (per million tokens)."
        )
    return Purse(into, out, limit, spent)


def require_agreement(number: int, purse: Purse, table: CaptionTable, yes: bool) -> None:
    """Raise NotAllowed unless the person at the keyboard agrees to the cost."""
    dollars = number * purse.price(*USUAL)
    most = number * purse.price(MOST_IN, table.most_tokens)
    # Beside the results, not among them.
    Console(stderr=True, soft_wrap=True, highlight=False, markup=False).print(
        f"{number} {'picture' if number == 1 else 'pictures'} and catalogue data go to "
        f"{table.address} ({table.model}): about ${dollars:.2f}, at most ${most:.2f}. Spent on "
        f"this data set so far: ${purse.spent:.2f}."
    )
    if dollars == 0 or yes:
        return
    if not sys.stdin.isatty():
        raise NotAllowed(
            "Nobody is there to agree to the cost: add --yes, and --max-usd as a limit."
        )
    if not typer.confirm("Go on?", err=True):
        raise NotAllowed("Nothing was sent and nothing was spent.")
