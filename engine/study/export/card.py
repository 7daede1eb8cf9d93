"""The dataset card of an export: README.md, whose header tells `datasets` the tables. Pure."""

import re

from engine.plan.cards import Registry
from engine.study.disclosure.scrub import KINDS
from engine.study.export.card_tables import (
    ExportFacts,
    consent_table,
    experiment_table,
    expert_table,
    facts_of,
    flow_table,
    table,
)
from engine.study.export.codebook import FILES, Tables, table_words
from engine.study.export.schema import text_of
from engine.study.export.table_files import iso


def card(made: ExportFacts, tables: Tables, registry: Registry, missing: int) -> str:
    """Write README.md: a YAML header, then the page. `missing`: pictures whose files are gone."""
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
        flow=flow_table(made, tables),
        consent=consent_table(tables),
        experiments=experiment_table(tables),
        experts=expert_table(tables, registry),
        scrubbed=_scrubbed(made, missing),
        anonymity=_anonymity(made),
        limits=text_of(f"limits_{made.how.form}").strip(),
        making=table(["", ""], facts_of(made).items()),
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
    rows = tables["interactions"]
    if not any(
        tables[name] for name in FILES if name not in ("experiments", "questions", "stimuli")
    ):
        return "**This export is empty**: nobody whose consent holds has left a row yet."
    people = {row["pseudonym"] for row in rows}
    times = [row["accepted_at"] for row in rows]
    span = f", from {iso(min(times))[:10]} to {iso(max(times))[:10]}" if times else ""
    form = (
        "the **public** form: words and pictures only of people who let excerpts be published"
        if made.how.form == "public"
        else "the **private** form, for the study's team under access control"
    )
    return f"{len(rows)} interactions of {len(people)} people{span}, in {form}."


def _scrubbed(made: ExportFacts, missing: int) -> str:
    scrub, blanked = made.scrub, made.shaped.blanked
    counts = ", ".join(f"`[{kind}]` {count}" for kind, count in sorted(scrub.taken.items()))
    words = [
        f"Looked for with patterns: {', '.join(KINDS)}. Replaced by placeholders: "
        f"{counts or 'nothing was found'}."
    ]
    if made.reviewed:
        words.append(
            f"A person went through the finds (list `{made.reviewed[:16]}…`): {scrub.kept} were left as "
            f"they were, {scrub.removed} more taken out."
        )
    else:
        words.append("**No person has gone through the finds.**")
    if blanked:
        counts = ", ".join(f"{name} {count}" for name, count in blanked.items())
        words.append(f"Blanked cells, for the public form: {counts}.")
    if missing:
        words.append(f"Pictures whose file is gone: {missing}.")
    return " ".join(words)


def _anonymity(made: ExportFacts) -> str:
    report = made.shaped.anonymity
    quasi = ", ".join(f"`{name}`" for name in report["quasi_identifiers"])
    lead = (
        f"Every combination of {quasi} in `interactions` (a question's answer: in `answers`) belongs to "
        f"at least k = {report['k']} people."
        if report["enforced"]
        else f"**Not enforced in this form.** Over {quasi}, with k = {report['k']}:"
    )
    rows = [
        (name.replace("_", " "), n) for name, n in report.items() if type(n) is int and name != "k"
    ]
    cells = report.get("cells_coarsened", {})
    rows += [(f"cells of `{name}` coarsened", count) for name, count in cells.items()]
    return f"{lead}\n\n{table(['', 'n'], rows)}"
