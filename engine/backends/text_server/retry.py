"""What goes wrong with a text server, and what follows: try again, shorten the text, or tell."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engine.backends.prompt_window import ASKED, left_out
from engine.backends.text_answer import TextAnswer
from engine.errors import ModelError

if TYPE_CHECKING:
    import openai

LONGEST_RETRY = 15.0
SHORTENINGS = 6  # halvings of a beginning that the server's window does not hold


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Set limits in seconds: to connect, between two words, before the first retry; and retries."""

    connect: float = 5.0
    silence: float = 60.0
    first_retry: float = 0.5
    longest_retry: float = LONGEST_RETRY
    tries: int = 6


@dataclass(slots=True, eq=False)
class Answer(TextAnswer):
    prompt: str = ""
    head: int = 0  # characters of the prompt that stay when it is shortened
    raw: str = ""
    tokens_in: int = 0
    base: int = 0  # tokens of the streams that broke off before
    ended: bool = False

    def asked(self, *, turn: bool) -> tuple[dict[str, Any], dict[str, bool]]:
        """Give the prompt with what was written; in a turn, as `prompt_ids` has it, with its options."""
        if not turn:
            return {"prompt": self.prompt + self.raw}, {}
        said = self.prompt[self.head :] + self.raw
        parts = {"user": ASKED + self.prompt[: self.head]} | ({"assistant": said} if said else {})
        messages = [{"role": role, "content": text} for role, text in parts.items()]
        wanted = {"add_generation_prompt": not said, "continue_final_message": bool(said)}
        return {"messages": messages}, wanted


class TryAgain(Exception):
    def __init__(self, what: str, after: float = 0.0) -> None:
        super().__init__(what)
        self.after = after


def trouble(error: "openai.APIError") -> Exception:
    """Tell whether to try again: for the connection, 408, 409, 429 and the server's own faults."""
    response = getattr(error, "response", None)
    if response is None:
        return TryAgain(type(error).__name__)
    if response.status_code not in (408, 409, 429) and response.status_code < 500:
        return ModelError(f"The text server refused the request ({response.status_code}).")
    try:
        after = float(response.headers.get("retry-after", 0))
    except ValueError:
        after = 0.0
    return TryAgain(f"status {response.status_code}", min(after, LONGEST_RETRY))


def shorten(answer: Answer, error: "openai.BadRequestError") -> None:
    """Drop a long beginning's front half, or notes and synopsis if longer. Raises ModelError."""
    job = answer.job
    long = "context" in str(error).lower() or "too long" in str(error).lower()
    memory, beginning = answer.prompt[job.head : answer.head], answer.prompt[answer.head :]
    if not long or len(memory + beginning) < 2 ** (SHORTENINGS + 1) or answer.raw:
        raise ModelError("The text server refused the request (400).") from error
    if len(memory) > len(beginning) // 2:
        answer.prompt, answer.head = job.prompt[: job.head] + beginning, job.head
        lines = job.prompt[job.head + job.recalled :][: job.noted].split("\n")
        answer.notes += (left_out(sum(map(bool, lines))),) if job.noted else ()
        return
    answer.prompt = answer.prompt[: answer.head] + beginning[len(beginning) // 2 :]
    lost = len(job.beginning) - len(answer.prompt[answer.head :])
    told = (
        f"Your text was longer than the model can read: its first {lost} characters were left out."
    )
    answer.notes = (*(n for n in answer.notes if "characters" not in n), told)
