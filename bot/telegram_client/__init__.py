"""Telegram: what people type, press and see there."""

from bot.telegram_client.client import TelegramClient

__all__ = ["TelegramClient"]
