"""How an expert draws: what its card says, and the order that a request makes of it. Pure."""

import re
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StringConstraints

from engine.errors import LimitError

GRAIN = 8  # pixels: a latent cell's edge, so sides are multiples of it
SMALLEST = 64
MOST_PICTURES = 4
MAX_NEGATIVE = 500  # characters
MAX_SCALE = 2.0

Scheduler = Literal["", "euler", "euler_a", "dpm", "ddim", "lcm", "tcd"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """A card's `[drawing]`: how pictures are made when nobody says otherwise.

    `size` is the edge of a square and `largest` the longest side, in pixels; `scale` is how strongly
    the adapter acts (0: base alone). `prompt` holds {request} once; a `token` in it is the adapter's
    own word, taken out of what the asker wrote so that it never stands there twice. `words` are all
    that the base has learnt, where they are few; empty means a large vocabulary. An empty `scheduler`
    is the base's own; `speed` is the strength of a few-step adapter, where the profile names one.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")
    size: Annotated[int, Field(ge=SMALLEST, le=4096, multiple_of=GRAIN)] = 1024
    largest: Annotated[int, Field(ge=SMALLEST, le=4096, multiple_of=GRAIN)] = 1536
    steps: Annotated[int, Field(ge=1, le=150)] = 30
    guidance: Annotated[float, Field(ge=0, le=30)] = 6.0
    scale: Annotated[float, Field(ge=0, le=MAX_SCALE)] = 1.0
    speed: Annotated[float, Field(ge=0, le=MAX_SCALE)] = 1.0
    negative: str = ""
    scheduler: Scheduler = ""
    prompt: str = "{request}"
    token: Annotated[str, StringConstraints(max_length=32)] = ""
    words: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.prompt.count("{request}") != 1:
            raise ValueError("drawing.prompt must hold {request} once")
        if self.token and self.token not in self.prompt:
            raise ValueError("drawing.prompt must hold the token")
        if self.size > self.largest:
            raise ValueError("drawing.size must not be beyond drawing.largest")


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What one job draws: `count` pictures of width x height pixels, seeds counted up from the job's."""

    width: int
    height: int
    count: int
    steps: int
    guidance: float
    scale: float
    speed: float
    negative: str
    scheduler: Scheduler


def caption(drawing: Drawing, text: str) -> str:
    """The prompt of a request: the card's, the asker's words in it, the token once.

    >>> caption(Drawing(prompt="a photo antique TOK jewellery, {request}", token="TOK"), "a tok ring.")
    'a photo antique TOK jewellery, a ring'
    """
    words = text
    if drawing.token:
        words = re.sub(rf"(?<!\w){re.escape(drawing.token)}(?!\w)", " ", text, flags=re.I)
    request = re.sub(r" ([,.;:])", r"\1", " ".join(words.split())).strip(" ,;.")
    return drawing.prompt.replace("{request}", request).strip(" ,")


def order(
    drawing: Drawing,
    *,
    size: tuple[int, int] | None = None,
    count: int | None = None,
    negative: str | None = None,
    scale: float | None = None,
) -> Order:
    """Fill in what a request leaves open. Raises LimitError with the bounds in words."""
    width, height = size or (drawing.size, drawing.size)
    for side in (width, height):
        if not SMALLEST <= side <= drawing.largest or side % GRAIN:
            raise LimitError(
                f"A picture's sides must be {SMALLEST} to {drawing.largest} pixels, in steps of "
                f"{GRAIN}: for example --size {drawing.size}."
            )
    count = 1 if count is None else count
    if not 1 <= count <= MOST_PICTURES:
        raise LimitError(f"I draw 1 to {MOST_PICTURES} pictures at a time.")
    scale = drawing.scale if scale is None else scale
    if not 0 <= scale <= MAX_SCALE:
        raise LimitError(f"The scale must be between 0 (no style at all) and {MAX_SCALE:g}.")
    if negative is not None and len(negative) > MAX_NEGATIVE:
        raise LimitError(f"What to leave out must be at most {MAX_NEGATIVE} characters long.")
    return Order(
        width=width,
        height=height,
        count=count,
        steps=drawing.steps,
        guidance=drawing.guidance,
        scale=scale,
        speed=drawing.speed,
        negative=drawing.negative if negative is None else negative,
        scheduler=drawing.scheduler,
    )


def unknown_words(drawing: Drawing, text: str) -> tuple[str, ...]:
    """Which of the asker's words a base of few words has never seen, each once, in order.

    >>> unknown_words(Drawing(words=("a", "gold", "ring")), "a golden ring, gold")
    ('golden',)
    """
    if not drawing.words:
        return ()
    known = {word.lower() for word in drawing.words} | {drawing.token.lower()}
    said = re.findall(r"[^\W\d_]+(?:['’-][^\W\d_]+)*", text.lower())
    return tuple(dict.fromkeys(word for word in said if word not in known))
