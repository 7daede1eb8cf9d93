"""What the clients of all platforms share: their protocol, paces and leases."""

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from engine.ledger.outbox import Debt


class Client(Protocol):
    """Serve one platform, as `pastiche serve` asks: DiscordClient, TelegramClient."""

    name: str

    @property
    def connected(self) -> bool:
        """Say whether it hears what is said on its platform now."""

    async def run(self) -> None:
        """Serve until drain(). Raises SetupError when that can never succeed (a wrong token)."""

    async def drain(self) -> None:
        """Take nothing new, say so where answers are under way, and make run() return."""

    async def deliver(self, debt: "Debt") -> None:
        """Follow the job to its end and send it, telling ChatService how that went. Raises nothing."""
