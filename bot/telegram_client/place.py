"""Where an answer goes: a chat, and within a forum its topic. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """`thread` is a forum topic's id; 0 outside of forums and in the topic General."""

    chat: int
    thread: int = 0

    @property
    def private(self) -> bool:
        """Whether this is a conversation with one person: its id is that person's, and positive."""
        return self.chat > 0

    def __str__(self) -> str:
        """As requests and deliveries keep it.

        >>> str(Place(chat=-1001, thread=4)), str(Place(chat=7))
        ('-1001/4', '7')
        """
        return f"{self.chat}/{self.thread}" if self.thread else str(self.chat)


def place_of(text: str) -> Place:
    """The place that was written so. Raises ValueError.

    >>> place_of("-1001/4")
    Place(chat=-1001, thread=4)
    """
    chat, _, thread = text.partition("/")
    return Place(chat=int(chat), thread=int(thread or 0))
