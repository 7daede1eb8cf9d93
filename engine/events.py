"""What happens to a job, as small frozen values; an answer is the fold of its events.

A worker posts `Text` about ten times a second with the *whole* text so far, and `Image` about every
second, so a client that missed some catches up with the next. `attempt` tells a rerun from the run
that died: a later attempt replaces everything an earlier one said.
"""

import base64
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, PlainSerializer


def _bytes(value: Any) -> Any:
    return base64.b64decode(value) if isinstance(value, str) else value


Bytes = Annotated[
    bytes,
    BeforeValidator(_bytes),
    PlainSerializer(lambda data: base64.b64encode(data).decode(), when_used="json"),
]  # base64 in JSON
FINAL_STATES = ("finished", "failed", "cancelled", "dead")


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued:
    """Accepted, that is: committed to the ledger. `position` is how many are before it, those that run
    included (0: it is next, or runs itself); `eta` in seconds. Told again when the line moves."""

    job: str
    position: int
    eta: float | None = None
    kind: Literal["queued"] = "queued"


@dataclass(frozen=True, slots=True, kw_only=True)
class OfAttempt:
    job: str
    attempt: int


UNSERVED = "no worker can do this now; it waits for one"  # Loading.what, however long that is


@dataclass(frozen=True, slots=True, kw_only=True)
class Loading(OfAttempt):
    """Something takes a while; `what` is for people ("getting the model ready")."""

    what: str
    kind: Literal["loading"] = "loading"


@dataclass(frozen=True, slots=True, kw_only=True)
class Started(OfAttempt):
    """A worker has begun; everything of an earlier attempt is void."""

    kind: Literal["started"] = "started"


@dataclass(frozen=True, slots=True, kw_only=True)
class Text(OfAttempt):
    text: str
    tokens: int
    kind: Literal["text"] = "text"


@dataclass(frozen=True, slots=True, kw_only=True)
class Image(OfAttempt):
    """A picture under way: `step` of `steps`, `eta` in seconds, `preview` a small JPEG (or empty)."""

    step: int
    steps: int
    eta: float | None = None
    preview: Bytes = b""
    kind: Literal["image"] = "image"


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    data: Bytes
    width: int
    height: int
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished(OfAttempt):
    """The answer: a text or pictures; seconds are measured from the start of generation."""

    text: str
    tokens_in: int
    tokens_out: int
    first_token_seconds: float
    seconds: float
    base_digest: str = ""
    adapter_digest: str = ""
    notes: tuple[str, ...] = ()
    pictures: tuple[Picture, ...] = ()
    kind: Literal["finished"] = "finished"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed(OfAttempt):
    """No answer: `message` is for the asker, `reason` for the operator; `dead`: it killed its worker."""

    message: str
    reason: str = ""
    dead: bool = False
    kind: Literal["failed"] = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelled(OfAttempt):
    """Stopped on the asker's word; `text` is what stood there by then."""

    text: str = ""
    tokens_out: int = 0
    kind: Literal["cancelled"] = "cancelled"


Final = Finished | Failed | Cancelled
Event = Queued | Loading | Started | Text | Image | Final


def is_final(event: Event) -> bool:
    return isinstance(event, Final)
