"""The dataset card of an export: README.md, whose header tells `datasets` the tables. Pure."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engine.plan.cards import Registry
from engine.study.disclosure.scrub import KINDS
from engine.study.export.codebook import FILES, Tables, table_words
from engine.study.export.consort import UNIT_FLOW, Flow, flow_json, numbers, unit_flow
from engine.study.export.derived_columns import files_of
from engine.study.export.schema import table, text_of
from engine.study.export.table_files import iso
from engine.study.study import StudyFile

if TYPE_CHECKING:
    from engine.study.export.release import Scrub, Shaped


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportFacts:
    """Hold what an export tells of itself; `options` by what and how it was made, as in the manifest."""

    options: Mapping[str, Any]
    file: StudyFile
    scrub: "Scrub"
    shaped: "Shaped"
    flow: Flow


def card(made: ExportFacts, registry: Registry, missing: int) -> str:
    """Write README.md: a YAML header, then the page. `missing`: pictures whose files are gone."""
    tables = made.shaped.tables
    flow = {name: of for name, of in flow_json(tables, made.flow).items() if name != "arms"}
    page = text_of("card").format(
        header=_header(made, tables),
        title=made.file.title,
        purpose=made.file.purpose,
        researcher=made.file.researcher,
        contact=made.file.contact,
        summary=_summary(made, tables),
        contents=table(
            ["table", "rows", "one row is"],
            [(f"`{name}`", len(tables[name]), table_words(name)["about"]) for name in FILES],
        ),
        flow=table(["people and rows", "n"], numbers(flow)),
        arms=table(UNIT_FLOW, unit_flow(tables, made.flow)) if made.flow.units else "",
        excerpts=sum(row["excerpts"] for row in tables["people"]),
        people=len(tables["people"]),
        experiments=_experiments(tables),
        experts=_experts(tables, registry),
        scrubbed=_scrubbed(made, missing),
        anonymity=_anonymity(made.shaped.anonymity),
        limits=text_of(f"limits_{made.options['form']}").strip(),
        making=table(["", ""], made.options.items()),
    )
    return re.sub(r"\n{3,}", "\n\n", page)


def _header(made: ExportFacts, tables: Tables) -> str:
    title = made.file.title.replace("\\", "\\\\").replace('"', '\\"')
    lines = ["---", f'pretty_name: "{title}"', "license: other"]
    lines += ["tags: [pastiche, research]", "configs:"]
    for name in FILES:
        if tables[name] or name == "interactions":
            lines += [f"- config_name: {name}", "  data_files:", "  - split: train"]
            lines += [f"    path: {name}.parquet"]
            lines += ["  default: true"] * (name == "interactions")
    return "\n".join((*lines, "---"))


def _summary(made: ExportFacts, tables: Tables) -> str:
    if not tables["people"]:
        return "**This export is empty**: nobody whose consent holds has left a row yet."
    times = [row["accepted_at"] for row in tables["interactions"]]
    span = f", from {iso(min(times))[:10]} to {iso(max(times))[:10]}" if times else ""
    people = len({row["pseudonym"] for row in tables["interactions"]})
    form = made.options["form"]
    return f"{len(times)} interactions of {people} people{span}, in the **{form}** form."


def _experiments(tables: Tables) -> str:
    rows, files = [], files_of(tables)
    for row in tables["experiments"]:
        file = files[row["id"]]
        rows.append(
            (
                f"`{row['id']}`",
                file.get("hypothesis", ""),
                file.get("preregistration") or "none named",
                iso(row["frozen_at"])[:10],
                f"{row['state']}: {row['stop_reason']}" if row["stop_reason"] else row["state"],
                f"`{row['version_sha256'][:16]}…`",
            )
        )
    head = ("experiment", "hypothesis", "preregistration", "frozen", "state", "SHA-256")
    return table(head, rows) if rows else "None with anybody in it."


def _experts(tables: Tables, registry: Registry) -> str:
    counts = Counter(
        (row["expert"], row["plain"], row["base_digest"] or "-", row["adapter_digest"] or "-")
        for row in tables["interactions"]
        if row["state"] == "finished"
    )
    rows = []
    for (name, plain, base, adapter), count in sorted(counts.items()):
        expert = registry.named(name)
        licence = expert.rights.licence if expert else "unknown: its card is no longer here"
        basis = f" ({expert.rights.basis})" if expert and expert.rights.basis else ""
        who = f"{name}, base alone" if plain else name
        rows.append((who, count, f"`{base}`", f"`{adapter}`", licence + basis))
    head = ["expert", "answers", "base", "adapter", "licence"]
    return table(head, rows) if rows else "None answered."


def _scrubbed(made: ExportFacts, missing: int) -> str:
    scrub, blanked = made.scrub, made.shaped.blanked
    counts = ", ".join(f"`[{kind}]` {count}" for kind, count in sorted(scrub.taken.items()))
    words = [
        f"Looked for with patterns: {', '.join(KINDS)}. Replaced by placeholders: "
        f"{counts or 'nothing was found'}."
    ]
    if digest := made.options["review_sha256"]:
        words.append(
            f"A person went through the finds (list `{digest[:16]}…`): {scrub.kept} were left as they "
            f"were, {scrub.removed} more taken out."
        )
    else:
        words.append("**No person has gone through the finds.**")
    if blanked:
        counts = ", ".join(f"{name} {count}" for name, count in blanked.items())
        words.append(f"Blanked cells, for the public form: {counts}.")
    if missing:
        words.append(f"Pictures whose file is gone: {missing}.")
    return " ".join(words)


def _anonymity(report: Mapping[str, Any]) -> str:
    quasi = ", ".join(f"`{name}`" for name in report["quasi_identifiers"])
    lead = (
        f"Every combination of {quasi} in `interactions` (a question's answer: in `answers`) belongs to "
        f"at least k = {report['k']} people."
        if report["enforced"]
        else f"**Not enforced in this form.** Over {quasi}, with k = {report['k']}:"
    )
    told = {n: v for n, v in report.items() if n not in ("enforced", "k", "quasi_identifiers")}
    return f"{lead}\n\n{table(['', 'n'], numbers(told))}"
