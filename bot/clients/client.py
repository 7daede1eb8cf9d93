"""What `pastiche serve` asks of a platform's client."""

import hashlib
from typing import Protocol

from bot.service.delivery import Debt

NONCE = 25  # characters; Discord takes no more


class Client(Protocol):
    """Real ones: DiscordClient, TelegramClient."""

    name: str

    @property
    def connected(self) -> bool:
        """Whether it hears what is said on its platform now."""

    async def run(self) -> None:
        """Serve until drain(). Raises SetupError when that can never succeed (a wrong token)."""

    async def drain(self) -> None:
        """Take nothing new, say so where answers are under way, and make run() return."""

    async def deliver(self, debt: Debt) -> None:
        """Follow the job to its end and send it, telling ChatService how that went. Raises nothing."""


def nonce(job: str, part: int = 0) -> str:
    """One message's idempotency key: the same for the same part of the same answer.

    >>> len(nonce("01ARZ3NDEKTSV4RRFFQ69G5FAV", 2))
    25
    """
    return hashlib.sha256(f"{job}:{part}".encode()).hexdigest()[:NONCE]
