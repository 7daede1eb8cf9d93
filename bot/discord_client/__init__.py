"""Discord, with discord.py: what people type, press and see there."""
