"""Elsewhere in an export, what would tell again what the gate has taken from a person's rows. Pure."""

from collections.abc import Sequence
from typing import Any

from engine.study.export.k_anonymity import Row

Tables = dict[str, list[Row]]


def silence(tables: Tables, before: Sequence[Row], quasi: Sequence[str]) -> None:
    """Blank the echoes in place. `before` are the interactions as they were, in the same order.

    A language stands in the consent too, and in the digest of its text; a platform in how an exposure
    was seen; the kind of a place in `private` and `place`.
    """
    after = tables["interactions"]
    coarse: dict[str, set[Any]] = {
        name: {
            new["pseudonym"]
            for old, new in zip(before, after, strict=True)
            if old[name] != new[name]
        }
        for name in ("locale", "platform")
    }
    active = {row["pseudonym"] for row in after}
    for old, new in zip(before, after, strict=True):
        if old["place_kind"] != new["place_kind"]:
            new["place"] = None
            new["private"] = new["private"] if new["place_kind"] is not None else None
    for row in tables["consents"]:
        if "locale" in quasi and (
            row["pseudonym"] in coarse["locale"] or row["pseudonym"] not in active
        ):
            row["locale"], row["text_sha256"] = None, None
    for row in tables["exposures"]:
        alone = row["pseudonym"] in coarse["platform"] or row["pseudonym"] not in active
        if "platform" in quasi and alone and row["visible"]:
            row["visible"] = {k: v for k, v in row["visible"].items() if k != "platform"}
