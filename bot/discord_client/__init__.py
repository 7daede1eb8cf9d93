"""Discord, with discord.py. `bot.serving.serve` runs what is named here."""

from bot.discord_client.client import DiscordClient

__all__ = ["DiscordClient"]
