"""Backends for a text server that speaks OpenAI's protocol."""
