"""Two accounts of one person, joined by a code that goes from one to the other, once, within minutes.

Both must have ticked linkage. The code itself is not kept, only its keyed hash.
"""

import secrets
from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.ledger.transactions import put
from engine.study.consent.consent import live_consent, root_of
from engine.study.pseudonyms import code_hash
from engine.study.study import Study
from engine.study.tables import LinkCodeRow, StudyLinkRow

CODE_SECONDS = 600.0
_ALPHABET = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"  # none that looks like another
_LENGTH = 8


def shown(code: str) -> str:
    """Format a code for people: K7QM-3XPA."""
    return f"{code[:4]}-{code[4:]}"


async def links(connection: AsyncConnection, study: Study, pseudonym: str) -> bool:
    consent = await live_consent(connection, study, pseudonym)
    return consent is not None and consent.linkage


async def new_code(
    connection: AsyncConnection, study: Study, pseudonym: str, now: float
) -> str | None:
    """Make a code for the other account to say, in place of older ones; None without linkage."""
    if not await links(connection, study, pseudonym):
        return None
    code = "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))
    unused = LinkCodeRow.pseudonym == pseudonym, LinkCodeRow.used_at.is_(None)
    await connection.execute(sa.delete(LinkCodeRow).where(*unused))
    values = {
        "code_hash": code_hash(study.needed_key(), code),
        "study": study.id,
        "pseudonym": pseudonym,
        "expires_at": now + CODE_SECONDS,
    }
    await connection.execute(sa.insert(LinkCodeRow).values(values))
    return code


async def join(
    connection: AsyncConnection, study: Study, pseudonym: str, code: str, now: float
) -> str:
    """Join this account to the one that got the code: "joined", or why not: "unwilling", "wrong",
    "expired", "used", "own", "other" (the other account does not agree any more)."""
    if not await links(connection, study, pseudonym):
        return "unwilling"
    typed = "".join(letter for letter in code.upper() if letter.isalnum())
    name = code_hash(study.needed_key(), typed)
    mine = LinkCodeRow.code_hash == name, LinkCodeRow.study == study.id
    query = sa.select(LinkCodeRow.__table__).where(*mine).with_for_update()
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        return "wrong"
    if row.pseudonym == pseudonym:
        return "own"
    if row.used_at is not None:
        return "used"
    # one whose time lies too far ahead was made before the clock went back
    if not row.expires_at - CODE_SECONDS <= now <= row.expires_at:
        return "expired"
    if not await links(connection, study, row.pseudonym):
        return "other"
    await connection.execute(sa.update(LinkCodeRow).where(*mine).values(used_at=now))
    await _unite(connection, study, pseudonym, row.pseudonym, now)
    return "joined"


async def _unite(
    connection: AsyncConnection, study: Study, one: str, other: str, now: float
) -> None:
    old, root = await root_of(connection, one), await root_of(connection, other)
    if old == root:
        return
    moved = sa.update(StudyLinkRow).where(StudyLinkRow.root == old)
    await connection.execute(moved.values(root=root))
    for name in (old, root):
        values = {"pseudonym": name, "study": study.id, "root": root, "at": now}
        await put(connection, StudyLinkRow, ("pseudonym",), values)


async def leave(connection: AsyncConnection, pseudonyms: Sequence[str]) -> None:
    """Unlink these accounts from what they were joined to; the others of it stay together."""
    gone = StudyLinkRow.pseudonym.in_(pseudonyms)
    query = sa.select(StudyLinkRow.root).where(gone).distinct()
    roots = list(await connection.scalars(query))
    await connection.execute(sa.delete(StudyLinkRow).where(gone))
    for root in roots:
        of_root = StudyLinkRow.root == root
        left = sorted(await connection.scalars(sa.select(StudyLinkRow.pseudonym).where(of_root)))
        if len(left) == 1:
            await connection.execute(sa.delete(StudyLinkRow).where(of_root))
        elif left:
            await connection.execute(sa.update(StudyLinkRow).where(of_root).values(root=left[0]))
