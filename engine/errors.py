"""Everything that can go wrong, as one tree.

PasticheError
├── AskerError            the asker can mend it; the message is a sentence, shown as it is
│   ├── CommandError      the text is no command we know (bot.messages.grammar)
│   ├── StyleError        a style that no expert has
│   ├── LimitError        too long, too short, too many
│   └── BusyError         the queue is full; later it will work
└── OurError              we must mend it; logged whole, the asker gets `kind_sentence`
    ├── SetupError        an operator can mend it, and is told how, without secrets or an asker's text
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


class PasticheError(Exception): ...


class AskerError(PasticheError): ...


class CommandError(AskerError): ...


class StyleError(AskerError): ...


class LimitError(AskerError): ...


class BusyError(AskerError): ...


class OurError(PasticheError): ...


class SetupError(OurError): ...


class ModelError(SetupError): ...


class UnmixableError(ModelError): ...


class LedgerError(SetupError): ...


class MediaError(LedgerError): ...


class OwnerGoneError(OurError):
    def __init__(self, *_: object) -> None:  # its words, where it comes over the socket
        super().__init__("The process that was answering has gone; the next one takes over.")
