"""One owner for each shard: who listens to it holds its lease, and stops when that is lost."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from bot.clients.lease import AGAIN_SECONDS, holding, until
from bot.discord_client.gateway import Connection, ShardedConnection
from bot.discord_client.sharding import Shards, of_count, prefix
from engine.ledger.leases import Leases

log = logging.getLogger(__name__)


async def chosen(connection: Connection, shards: Shards) -> Shards:
    """The shards, counted by Discord if the setting leaves it that."""
    if shards.count is None and isinstance(connection, ShardedConnection):
        count, _address, _limits = await connection.http.get_bot_gateway()
        shards = of_count(count)
        connection.choose(shards)
        log.info("Discord: %d shards, as it recommends", count)
    return shards


async def listen_alone(
    listen: Callable[[], Coroutine[Any, Any, None]],
    leases: Leases,
    shards: Shards,
    application: int | None,
) -> None:
    """Listen once the shards are ours. Raises LeaseLostError."""
    async with _ours(leases, shards, application) as lost:
        await until(lost, listen())


@asynccontextmanager
async def _ours(
    leases: Leases, shards: Shards, application: int | None
) -> AsyncIterator[asyncio.Event]:
    """The leases of all shards, once nobody divides the servers into another number of them."""
    told: set[str] = set()
    while others := await _divided_otherwise(leases, shards, application):
        for name, holder in others.items():
            if name not in told:
                log.warning(
                    "Discord: %s serves shard %s, and this process divides by %s. Waiting for its end: "
                    "all must have the same number in DISCORD_SHARDS.",
                    holder, name.rpartition(" ")[2], shards.count,
                )  # fmt: skip
        told |= others.keys()
        await asyncio.sleep(AGAIN_SECONDS)

    def waiting(who: str) -> None:
        log.warning(
            "Discord: %s listens already to what this process is to hear. Waiting: when it ends, this "
            "one takes its place.",
            who,
        )

    async with holding(leases, shards.names(application), waiting) as lost:
        yield lost


async def _divided_otherwise(
    leases: Leases, shards: Shards, application: int | None
) -> dict[str, str]:
    alike = await leases.alike(prefix(application))
    return {name: who for name, who in alike.items() if not name.endswith(f"/{shards.count}")}
