"""Telegram: what people type, press and see there."""
