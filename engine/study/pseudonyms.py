"""Pseudonyms: keyed by the study's own secret, so that two studies share none. Pure.

HMAC-SHA-256, its first 128 bits. No plain hash would do: platforms number their people, and all their
numbers can be hashed in a day.
"""

import hashlib
import hmac

LETTERS = 32  # of a pseudonym, in hex
SESSION_SECONDS = 30 * 60.0  # a longer silence begins a new session


def pseudonym(key: bytes, platform: str, asker: str) -> str:
    """Make 32 hex characters for a person."""
    return keyed(key, f"{platform}|{asker}")[:LETTERS]


def key_check(key: bytes, study: str) -> str:
    return keyed(key, f"pastiche study {study}")[:LETTERS]


def code_hash(key: bytes, code: str) -> str:
    return keyed(key, f"pastiche link code|{code}")


def row_name(key: bytes, name: str) -> str:
    """Make 20 hex characters for an exported row, which nobody can who knows only its own name."""
    return keyed(key, f"row|{name}")[:20]


def numbered(key: bytes, name: str) -> int:
    """Make a whole number of 48 bits for a row, which tells nothing of its place among others."""
    return int(keyed(key, f"number|{name}")[:12], 16)


def keyed(key: bytes, message: str) -> str:
    """Make the 64 hex characters of HMAC-SHA-256, which nobody can without the key."""
    return hmac.new(key, message.encode(), hashlib.sha256).hexdigest()
