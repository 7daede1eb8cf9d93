"""What `pastiche serve` asks of a platform's client, and the debt of an answer that it settles."""

import hashlib
from dataclasses import dataclass
from typing import Protocol

NONCE = 25  # characters; Discord takes no more


@dataclass(frozen=True, slots=True, kw_only=True)
class Debt:
    """An answer that was accepted and is not known to have arrived.

    `address` is what the client itself wrote, enough to answer there. `unsure`: it was on its way when
    the process died, and may be there already.
    """

    job: str
    platform: str
    address: str
    unsure: bool = False
    tries: int = 0


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
