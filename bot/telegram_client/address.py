"""The address of an answer: a chat, and within a forum its topic. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Name a chat; `thread` is a forum topic's id, 0 outside of forums and in the topic General."""

    chat: int
    thread: int = 0

    @property
    def private(self) -> bool:
        """Say whether this is a conversation with one person: its id is that person's, and positive."""
        return self.chat > 0

    @property
    def parent(self) -> str:
        return str(self.chat) if self.thread else ""

    def __str__(self) -> str:
        """Write it as requests and deliveries keep it.

        >>> str(Place(chat=-1001, thread=4)), str(Place(chat=7))
        ('-1001/4', '7')
        """
        return f"{self.chat}/{self.thread}" if self.thread else str(self.chat)


def address(place: Place, message: int) -> str:
    """Write where an answer goes, and the message there that holds its place so far (0: none).

    >>> address(Place(chat=-1001, thread=4), 12)
    '-1001/4#12'
    """
    return f"{place}#{message}" if message else str(place)


def read_address(text: str) -> tuple[Place, int]:
    """Read what address() wrote. Raises ValueError.

    >>> read_address("7")
    (Place(chat=7, thread=0), 0)
    """
    where, _, message = text.partition("#")
    chat, _, thread = where.partition("/")
    return Place(chat=int(chat), thread=int(thread or 0)), int(message or 0)
