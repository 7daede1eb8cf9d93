"""The tables of the dataset card: who is in the export, what they agreed to, who answered. Pure."""

import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engine.study.export.table_files import iso

if TYPE_CHECKING:
    from engine.plan.cards import Registry
    from engine.study.export.codebook import Row, Tables
    from engine.study.export.dataset import Flow
    from engine.study.export.release import Options, Scrub, Shape, Shaped
    from engine.study.study import StudyFile


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportFacts:
    options: "Options"
    file: "StudyFile"
    how: "Shape"
    version: str
    commit: str
    schema: str
    reviewed: str
    scrub: "Scrub"
    shaped: "Shaped"
    flow: "Flow"
    key: str


def facts_of(made: ExportFacts) -> dict[str, Any]:
    """Say by what, of what and how an export was made."""
    options, how = made.options, made.how
    return {
        "version": made.version,
        "commit": made.commit,
        "schema": made.schema,
        "study": options.study,
        "experiment": options.experiment,
        "form": how.form,
        "times": how.times,
        "k": how.k,
        "k_enforced": how.gated,
        "quasi_identifiers": list(how.quasi),
        "review_sha256": made.reviewed,
        "key": made.key,
    }


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Write a Markdown table.

    >>> print(table(["a", "b"], [[1, "x|y"]]))
    | a | b |
    | --- | --- |
    | 1 | x\\|y |
    """
    cells = [[str(value).replace("|", "\\|").replace("\n", " ") for value in row] for row in rows]
    lines = [head, ["---"] * len(head), *cells]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def flow_table(made: ExportFacts, tables: "Tables") -> str:
    """Count from those who were asked to the rows that are here (CONSORT)."""
    flow = made.flow
    rows: list[tuple[Any, ...]] = [
        *((f"invited, {name}", count) for name, count in flow.invited.items()),
        ("people who ever agreed", flow.agreed),
        ("— withdrew", flow.withdrawn),
        ("— no longer agree to use in the study", flow.declined_use),
        ("accounts joined to another of the same person", flow.linked),
        ("**people whose consent holds**", flow.people),
        ("interactions on record", flow.interactions),
        *((f"— left out: {name}", count) for name, count in flow.left_out.items()),
        ("**interactions in this export**", len(tables["interactions"])),
    ]
    text = table(["people and rows", "n"], rows)
    return "\n\n".join((text, *_allocations(tables, flow), *_exposures(tables)))


def _allocations(tables: "Tables", flow: "Flow") -> list[str]:
    rows = [row[:-1] for row in unit_flow(tables, flow)]
    return [table(UNIT_FLOW[:-1], rows)] if rows else []


UNIT_FLOW = (
    "experiment", "arm", "allocated", "left, erased", "left, kept unused", "completed", "excluded",
    "to analyse", "why excluded",
)  # fmt: skip


def unit_flow(tables: "Tables", flow: "Flow") -> list[tuple[Any, ...]]:
    """Follow the units of each arm from their allocation to the analysis; columns as in UNIT_FLOW."""
    found: dict[tuple[str, str], list[Row]] = {arm: [] for arm in flow.units}
    for row in tables["enrolments"]:
        found[row["experiment"], row["arm"]].append(row)
    rows = []
    for arm, own in found.items():
        reasons = Counter(row["excluded"] for row in own if row["excluded"])
        why = ", ".join(f"{reason} {count}" for reason, count in sorted(reasons.items()))
        done, out = sum(row["completed_at"] is not None for row in own), reasons.total()
        rows.append((*arm, *flow.units[arm], done, out, len(own) - out, why))
    return rows


def flow_json(tables: "Tables", flow: "Flow") -> dict[str, Any]:
    """Follow people, units by arm, and what was shown, from the first to the analysis (CONSORT)."""
    told = ("made", "delivered", "judged", "void")
    return {
        "people": {
            "invited": dict(flow.invited),
            "ever_agreed": flow.agreed,
            "withdrew": flow.withdrawn,
            "no_longer_agree_to_use": flow.declined_use,
            "accounts_joined": flow.linked,
            "agree_now": flow.people,
        },
        "interactions": {
            "on_record": flow.interactions,
            "left_out": dict(flow.left_out),
            "here": len(tables["interactions"]),
        },
        "arms": [dict(zip(UNIT_FLOW, row, strict=True)) for row in unit_flow(tables, flow)],
        "shown": {
            kind: dict(zip(told, counts, strict=True)) for kind, *counts in exposure_flow(tables)
        },
    }


def _exposures(tables: "Tables") -> list[str]:
    if not tables["exposures"]:
        return []
    rows = []
    for kind, made, shown, judged, void in exposure_flow(tables):
        why = ", ".join(f"{reason} {count}" for reason, count in void.items())
        rows.append((kind, made, shown, judged, f"{sum(void.values())} {why}".strip()))
    return [table(["shown to be judged", "made", "delivered", "judged", "void"], rows)]


def exposure_flow(tables: "Tables") -> Iterator[tuple[str, int, int, int, dict[str, int]]]:
    voted = _judged(tables)
    for kind in sorted({row["kind"] for row in tables["exposures"]}):
        own = [row for row in tables["exposures"] if row["kind"] == kind]
        void = Counter(row["void_reason"] or "-" for row in own if row["state"] == "void")
        shown = sum(row["delivered_at"] is not None for row in own)
        judged = sum(row["id"] in voted for row in own)
        yield kind, len(own), shown, judged, dict(sorted(void.items()))


def _judged(tables: "Tables") -> set[str]:
    """Find those that somebody voted on, or whose answer they rated on the experiment's own scale."""
    rated = {row["about"] for row in tables["answers"] if row["about"]}
    by_rating = {
        row["id"]
        for row in tables["exposures"]
        if row["id"] in rated or any(one.get("interaction") in rated for one in row["shown"])
    }
    return by_rating | {row["exposure_id"] for row in tables["votes"]}


def consent_table(tables: "Tables") -> str:
    granted = [row for row in tables["consents"] if row["action"] == "granted"]
    counts = Counter(
        (row["text_version"], row["locale"] or "not told here", row["text_sha256"] or "-")
        for row in granted
    )
    if not counts:
        return "Nobody's."
    rows = [
        (version, locale, count, f"`{digest[:16]}…`")
        for (version, locale, digest), count in sorted(counts.items())
    ]
    last = {row["pseudonym"]: row for row in tables["consents"]}.values()
    excerpts = sum(row["excerpts"] for row in last)
    return table(["text", "language", "times agreed to", "SHA-256"], rows) + (
        f"\n\nOf {len(last)} people, {excerpts} let de-identified excerpts be published."
    )


def experiment_table(tables: "Tables") -> str:
    rows = []
    for row in tables["experiments"]:
        file = tomllib.loads(row["file"])
        stopped = f"stopped: {row['stop_reason']}" if row["state"] == "stopped" else row["state"]
        rows.append(
            (
                f"`{row['id']}`",
                file.get("hypothesis", ""),
                file.get("preregistration") or "none named",
                iso(row["frozen_at"])[:10],
                stopped,
                f"`{row['version_sha256'][:16]}…`",
            )
        )
    head = ("experiment", "hypothesis", "preregistration", "frozen", "state", "SHA-256")
    return table(head, rows) if rows else "None with anybody in it."


def expert_table(tables: "Tables", registry: "Registry") -> str:
    counts = Counter(
        (row["expert"], row["plain"], row["base_digest"] or "", row["adapter_digest"] or "")
        for row in tables["interactions"]
        if row["state"] == "finished"
    )
    if not counts:
        return "None answered."
    rows = []
    for (name, plain, base, adapter), count in sorted(counts.items()):
        expert = registry.named(name)
        licence = expert.rights.licence if expert else "unknown: its card is no longer here"
        basis = f" ({expert.rights.basis})" if expert and expert.rights.basis else ""
        who = f"{name}, base alone" if plain else name
        rows.append((who, count, f"`{base or '-'}`", f"`{adapter or '-'}`", licence + basis))
    return table(["expert", "answers", "base", "adapter", "licence"], rows)
