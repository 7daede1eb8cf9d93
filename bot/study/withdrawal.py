"""Withdrawal from a study, and access to what is held: /withdraw and /mydata."""

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from bot.locales import language_of, words
from bot.messages.buttons import Press, Verb, button
from bot.messages.split import joined
from bot.service.context import mark_of
from bot.service.request import Reply, Who
from bot.study.consent import parts_of, standing, study_of
from engine.errors import AskerError
from engine.study.export.schema import meaning, titled

if TYPE_CHECKING:
    from bot.messages.grammar import Simple
    from bot.study.study_chat import StudyChat

MAX_FILE = 8 << 20  # bytes; what every platform takes
PICTURES = ("pictures", "study_pictures")
CODES = (
    "id", "lookup", "sha256", "digest", "pseudonym", "parent", ".form", "media", "key", "hash",
    "rater", "asker", "reporter", "author", "unit", "unit_kind", "root", "owner", "place", "session",
    "block", "position", "visible", "latency", "head", "recalled", "noted", "attempt", "jobs.alone",
    "deaths_alone", "queue", "rank", "turn", "worker", "reply_to", "sender", "tries", "due_at",
)  # fmt: skip
KEEP, DELETE = "keep", "delete"


async def withdraw(chat: "StudyChat", command: "Simple", who: Who) -> Reply:
    """End it at once, and ask about what there is."""
    study_of(chat, who)
    agreements = chat.agreements
    last = await agreements.last(*who.account)
    if last is None:
        return Reply(words("study.nothing_to_withdraw", who.locale), private=True)
    debriefs = await chat.debriefs.all_told(who)
    await agreements.withdraw(*who.account, "private" if who.alone else "aside")
    chat.questions.asks(who, partial(withdraw, chat, command))
    form = await agreements.form(*who.account)
    mark = mark_of(chat.context, who)
    ask = tuple(
        button(Verb.DATA, form, f"{mark}.{what}", label=words(f"study.{what}", who.locale))
        for what in (KEEP, DELETE)
    )
    text = "\n\n".join([words("study.withdrawn", who.locale), *debriefs])
    return Reply(text, private=True, ask=ask, start="withdraw")


async def data_pressed(chat: "StudyChat", press: Press, who: Who) -> Reply:
    """Keep or delete. Raises AskerError for somebody else's question, or one that is out of date."""
    study_of(chat, who)
    mark, what, _ = parts_of(press.argument)
    if mark != mark_of(chat.context, who):
        raise AskerError(words("study.not_yours", who.locale))
    chat.questions.asks(who)
    if await chat.agreements.standing(*who.account, press.job):
        raise AskerError(words("study.older_withdrawal", who.locale))
    if what != DELETE:
        return Reply(words("study.kept", who.locale), private=True, replaces=True)
    count = await chat.context.services.withdraw_all(*who.account)
    return Reply(words("study.deleted", who.locale, count=count), private=True, replaces=True)


async def mydata(chat: "StudyChat", _command: "Simple", who: Who) -> Reply:
    held = await chat.agreements.held(*who.account)
    rows = dict(reversed(held.items()))  # the account and its requests first
    known = await chat.agreements.names(*who.account)
    counts = "\n".join(
        f"- {titled(name, who.locale)}: {len(found)}" for name, found in rows.items()
    )
    parts = [
        words("study.mydata", who.locale),
        counts or words("study.mydata_nothing", who.locale),
        await _mine(chat, who),
    ]
    if known.lost:
        parts.append(words("study.lost", who.locale, names=", ".join(known.lost)))
    about = {name: titled(name, who.locale) for name in rows}
    tables = {name: [_dated(row) for row in found] for name, found in rows.items()}
    whole = {"platform": who.platform, "account": who.asker, "about": about, "tables": tables}
    data = json.dumps(whole, ensure_ascii=False, indent=1, default=str, sort_keys=True).encode()
    text = joined(*parts)
    names = {row["media"] for name in PICTURES for row in rows.get(name, ()) if row["media"]}
    made = {"mydata.html": _page(text, tables, who.locale), "mydata.json": data}
    packed, left = await _packed(chat, made, sorted(names))
    if left:
        text += "\n\n" + words("study.mydata_left", who.locale, count=left, hours=who.hours)
    given = (("mydata.zip", packed),) if packed else tuple(made.items())
    return Reply(text, private=True, files=given, start="mydata")


def _page(lead: str, tables: Mapping[str, Sequence[Mapping[str, Any]]], locale: str) -> bytes:
    """Make a page to read in any browser; what only a machine reads stands in the JSON alone."""
    style = files("engine.study.report").joinpath("page.css").read_text(encoding="utf-8")
    parts = [
        f'<!doctype html><html lang="{language_of(locale)}"><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width"><title>mydata</title>',
        f"<style>{style}</style><h1>Pastiche</h1><p style='white-space: pre-line'>{escape(lead)}</p>",
    ]
    for name, rows in tables.items():
        parts.append(f"<h2>{escape(titled(name, locale))}: {len(rows)}</h2>")
        for row in rows:
            lines = (
                f"<tr><th scope=row>{escape(meaning(name, key, locale))}</th>"
                f"<td>{escape(_said(value, locale))}</td></tr>"
                for key, value in row.items()
                if not f"{name}.{key}".endswith(CODES)
            )
            parts.append(f"<table>{''.join(lines)}</table>")
    return "".join(parts).encode()


def _said(value: Any, locale: str) -> str:
    if isinstance(value, bool):
        return words("study.yes" if value else "study.no", locale)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _dated(row: Mapping[str, Any]) -> dict[str, Any]:
    """Write times as dates, and leave out what is empty, so that a person can read it."""
    return {
        name: datetime.fromtimestamp(value, UTC).isoformat(" ", "seconds")
        if isinstance(value, float) and (name == "at" or name.endswith("_at"))
        else value
        for name, value in row.items()
        if value is not None
    }


async def _packed(
    chat: "StudyChat", rows: Mapping[str, bytes], names: Sequence[str]
) -> tuple[bytes, int]:
    """Zip the rows and the pictures, if need be; return how many pictures it has no room for."""
    if not names and sum(map(len, rows.values())) <= MAX_FILE:
        return b"", 0
    made, put = io.BytesIO(), 0
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for file, data in rows.items():
            archive.writestr(file, data)
        async for name, picture in chat.context.services.ledger.pictures(names):
            if made.tell() + len(picture) > MAX_FILE:
                break
            archive.writestr(f"{name}.png", picture, zipfile.ZIP_STORED)
            put += 1
    return made.getvalue(), len(names) - put


async def _mine(chat: "StudyChat", who: Who) -> str:
    study = chat.agreements.study
    if study is None or study.key is None:
        return ""
    last = await chat.agreements.last(*who.account)
    if last is None or not last.live:
        return words("study.not_taking_part", who.locale)
    return standing(last, who)
