"""What travels by NOTIFY: sealed, small, and only while somebody listens.

A process that follows jobs has one channel, a station of workers another. A note is
    F <job>            the final answer is on record
    S <job>            the newest event is too long to travel: read its row of `progress`
    E <sealed event>   an event
PostgreSQL keeps unread notes in files of its own, so that an event, which may hold what somebody
asked for, goes sealed with the ledger's key. https://www.postgresql.org/docs/current/sql-notify.html
"""

import base64

from pydantic import TypeAdapter

from engine.errors import LedgerError
from engine.events import Event
from engine.vault import Vault

MAX_NOTE_BYTES = 6_000  # the server takes 7,999
PURPOSE = "note"
EVENT: TypeAdapter[Event] = TypeAdapter(Event)


def bot_channel(process: str) -> str:
    """Where a process hears of the jobs it follows."""
    return f"pastiche_p_{process.lower()}"


def station_channel(station: str) -> str:
    """Where a station is told to look at its tickets."""
    return f"pastiche_s_{station.lower()}"


def queue_channel(queue: str) -> str:
    """Where Procrastinate tells of new jobs in a queue."""
    return f"procrastinate_queue_v1#{queue}"


def final_note(job: str) -> str:
    """The job is over."""
    return f"F {job}"


def see_note(job: str) -> str:
    """There is a newer event in its row of `progress`."""
    return f"S {job}"


def event_note(event: Event, vault: Vault) -> str | None:
    """The event itself, or None when it is too long to travel."""
    data = EVENT.dump_json(event)
    if len(data) * 4 // 3 > MAX_NOTE_BYTES:
        return None
    note = "E " + base64.b64encode(vault.seal_bytes(data, PURPOSE)).decode()
    return note if len(note) <= MAX_NOTE_BYTES else None


def read_event(words: str, vault: Vault) -> Event | None:
    """The event of an E note; None for anything that is not one of ours."""
    try:
        return EVENT.validate_json(vault.open_bytes(base64.b64decode(words[2:]), PURPOSE))
    except (ValueError, LedgerError):
        return None
