"""Everything that can go wrong, as one tree.

PasticheError
├── AskerError            the asker can mend it; the message is shown as it is
│   ├── CommandError      the text is no command we know (bot.messages.grammar)
│   ├── StyleError        a style that no expert has
│   ├── LimitError        too long, too short, too many
│   └── BusyError         the queue is full; later it will work
└── OurError              we must mend it; logged whole, the asker gets `kind_sentence`
    ├── SetupError        an operator can mend it: a setting, a key, a missing file
    │   ├── ModelError    a base or adapter is missing, corrupt, or of a refused kind
    │   │   └── UnmixableError  it is sound, but only PEFT's own code can serve it
    │   └── LedgerError   the record cannot be read or written
    │       └── MediaError    nor the pictures that it speaks of
    └── OwnerGoneError    the process that owned the queue left before the answer was ready
"""

KIND_SENTENCE = "Something went wrong on our side. Please try it again."
APOLOGY = (
    "This request stopped our model more than once, so we have given it up, with apologies. "
    "Please try it in other words."
)
LINE = 300  # characters of a library's message that are repeated


def in_one_line(error: BaseException) -> str:
    """A library's message on one line, its name where it says nothing; the first line alone often says
    nothing either ("Error(s) in loading state_dict for ...:")."""
    said = " ".join(str(error).split()) or type(error).__name__
    return said if len(said) <= LINE else said[:LINE] + "..."


class PasticheError(Exception):
    """The root: catch it at the edge only."""


class AskerError(PasticheError):
    """Mendable by the asker: `str(error)` is a sentence written for a person."""


class CommandError(AskerError):
    """The text is no command that we know."""


class StyleError(AskerError):
    """No expert has the style that was asked for."""


class LimitError(AskerError):
    """A text or number is out of bounds."""


class BusyError(AskerError):
    """The queue takes nothing more for now."""


class OurError(PasticheError):
    """Ours to mend: log it whole, show the asker KIND_SENTENCE."""


class SetupError(OurError):
    """An operator can mend it; `str(error)` says how, and holds no secret and no asker's text."""


class ModelError(SetupError):
    """A base or adapter is missing, corrupt, or of a kind that is refused."""


class UnmixableError(ModelError):
    """The model or adapter is sound, but only PEFT's own code can serve it."""


class LedgerError(SetupError):
    """The record cannot be read or written; nothing was accepted."""


class MediaError(LedgerError):
    """The pictures' store cannot be read or written."""


class OwnerGoneError(OurError):
    """The queue's owner left. The job is in the ledger; the next owner finishes it."""

    def __init__(self, job: str = "") -> None:
        super().__init__("The process that was answering has gone; the next one takes over.")
        self.job = job
