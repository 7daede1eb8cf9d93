"""What there is on the loopback Discord: people, one server, messages, interactions, planned faults."""

import re
import time
from dataclasses import dataclass, field
from typing import Any

TOKEN = "MTAwMDAwMDAwMDAwMDAwMDAwMA.GLoopB.wire-level-token-of-a-test-0123456789"
APP, GUILD, CHANNEL, THREAD, ELSEWHERE, OWNER = (str(10**18 + n) for n in range(6))
ALICE, BOB, CAROL = (str(2 * 10**18 + n) for n in range(3))
NAMES = {APP: "Pastiche", ALICE: "alice", BOB: "bob", CAROL: "carol", OWNER: "olga"}
KEEPER, ADMIN, ROBOT = (str(2 * 10**18 + n) for n in range(100, 103))  # of one channel; all; a bot
MANAGE_CHANNELS, MANAGE_GUILD, MANAGE_MESSAGES, EVERYTHING = 1 << 4, 1 << 5, 1 << 13, 1 << 3
RIGHTS = {OWNER: MANAGE_GUILD, KEEPER: MANAGE_CHANNELS, ADMIN: EVERYTHING}
EPHEMERAL, LOADING = 64, 128
MIB = 1024 * 1024
# Seconds until a command that nothing acknowledged is given up. Discord's own are 3, which a busy
# machine may take by itself; how soon the bot is there: tests/benchmarks/discord_acks.py
UNANSWERED = 30.0


@dataclass
class Message:
    """One message, and every text that it ever had."""

    id: str
    channel: str
    author: str
    content: str = ""
    components: list[dict[str, Any]] = field(default_factory=list)
    files: list[tuple[str, bytes]] = field(default_factory=list)
    flags: int = 0
    nonce: str | None = None
    reply_to: str | None = None
    deleted: bool = False
    versions: list[tuple[float, str]] = field(default_factory=list)

    @property
    def buttons(self) -> dict[str, str]:
        """Label -> custom_id."""
        items = [item for row in self.components for item in row["components"]]
        return {item["label"]: item["custom_id"] for item in items if item["type"] == 2}


@dataclass
class Interaction:
    """Something that a person did, and what came of it."""

    id: str
    token: str
    kind: int
    channel: str
    user: str
    born: float = field(default_factory=time.monotonic)
    source: Message | None = None
    ack_seconds: float | None = None
    callback: int | None = None
    callback_data: dict[str, Any] = field(default_factory=dict)
    response: Message | None = None
    followups: list[Message] = field(default_factory=list)

    @property
    def said(self) -> list[Message]:
        """The response and its follow-ups, those not deleted. A press's response is what it was on."""
        return [m for m in (self.response, *self.followups) if m and not m.deleted]

    @property
    def brought(self) -> list[Message]:
        """What it brought that was not there before."""
        return [m for m in self.said if m is not self.source]


@dataclass
class Call:
    """One request as it came."""

    method: str
    path: str
    at: float
    payload: dict[str, Any] = field(default_factory=dict)
    files: list[tuple[str, bytes]] = field(default_factory=list)
    status: int = 0


@dataclass
class Fault:
    """What the next matching requests meet: a status, or a dropped connection."""

    method: str
    path: re.Pattern[str]
    status: int | None
    times: int
    retry_after: float
    effective: bool  # it happened all the same; only the reply was lost
    code: int
    after: int = 0  # so many pass first


def user(name: str) -> dict[str, Any]:
    """The wire form of a person or the bot."""
    about = {"id": name, "username": NAMES.get(name, f"user{name[-6:]}"), "discriminator": "0"}
    return about | {"avatar": None, "global_name": None, "bot": name in (APP, ROBOT)}


def guild() -> dict[str, Any]:
    """The one server there is: two channels and a thread."""
    granted = str((1 << 10) | (1 << 11) | (1 << 14))
    no = dict.fromkeys(("hoist", "managed", "mentionable"), False)
    everyone = {"id": GUILD, "name": "@everyone", "permissions": granted, "position": 0, "color": 0}
    channels = [
        {"id": c, "type": 0, "name": n, "position": i, "permission_overwrites": [], "nsfw": False}
        for i, (c, n) in enumerate(((CHANNEL, "stories"), (ELSEWHERE, "other")))
    ]
    stamp = "2026-11-22T12:00:00+00:00"
    times = {"archived": False, "auto_archive_duration": 60, "archive_timestamp": stamp}
    thread = {"id": THREAD, "type": 11, "parent_id": CHANNEL, "owner_id": ALICE, "name": "a tale"}
    thread |= {"message_count": 0, "member_count": 1, "thread_metadata": times}
    me = {
        "user": user(APP),
        "roles": [],
        "joined_at": stamp,
        "flags": 0,
        "deaf": False,
        "mute": False,
    }
    about = {"id": GUILD, "name": "A server", "owner_id": OWNER, "member_count": 5}
    return about | {
        "roles": [everyone | no],
        "channels": channels,
        "threads": [thread],
        "members": [me],
    }
