"""The dataset card of an export: README.md, whose header tells `datasets` the tables. Pure."""

from engine.plan.cards import Registry
from engine.study.export.card_tables import (
    ExportFacts,
    consent_table,
    experiment_table,
    expert_table,
    flow_table,
    table,
)
from engine.study.export.codebook import FILES, Tables, table_words
from engine.study.export.scrub import KINDS
from engine.study.export.table_files import iso

DUTIES = """\
- **Not for training.** What people write on Discord must not be used to train machine-learning or AI
  models without Discord's express permission (Discord Developer Policy of 8 July 2024). Telegram allows
  data that people gave to a bot directly and voluntarily only for uses that they were told of, with
  individual, explicit, active and revocable consent (Telegram Bot Developer Terms, 4.3). The people
  here agreed to *research*.
- **No re-identification.** Do not try to find out who anybody is, and do not join this with other data
  for that end (Discord Developer Policy).
- **Pseudonymised data is personal data** (GDPR, Article 4(5)). Keep it under access control, delete it
  when the study's plan says so.
- **People may leave.** Whoever withdraws is absent from every later export. Make a new one before you
  publish, and compare: `pastiche study diff OLD NEW` lists what has to be deleted from older copies."""

LIMITS = """\
- Names of people and places are **not** found by the scrub, and may remain in the texts. Public release
  of free text needs a reader: `pastiche study review`.
- Texts were written by language models, or by people for them; they may be wrong, dull or offensive.
- A person's rows share a pseudonym, so somebody who knows several of them knows more than one row tells;
  k-anonymity holds for single rows, over the columns named above only.
- Whoever was in the same group saw what was asked there, by whom, and how it was judged."""
PRIVATE_LIMITS = """
- Picture files are as they were delivered, with the statement in them that a model made them; the
  identifier in that statement tells when.
- Seeds, seconds and tokens are exact: a footer that somebody saw in a group names its row, and so its
  person's others. **Do not pass this form on.**"""
PUBLIC_LIMITS = """
- A footer, a button or a picture's own identifier leads to no row: there are no seeds and no places in
  the order of arrival, seconds, tokens and characters are stepped down (1, 2, 5, 10, 20, 50 ...), and
  identifiers are keyed. But few people at work in one group at one time may still be told apart by what
  they did, above all by its order, and whoever saw a published text knows whose it is.
- Answers to questions are whole, but for those of the quasi-identifiers."""

LOADING = """\
```python
from datasets import load_dataset
trials = load_dataset("path/to/this/folder", "trials")["train"]

import pandas
people = pandas.read_parquet("path/to/this/folder/people.parquet")
```

`python analysis.py`, or `Rscript analysis.R`, prints the planned figures from `trials.csv`."""


def card(made: ExportFacts, tables: Tables, registry: Registry, missing: int) -> str:
    """Write README.md: a YAML header, then the page. `missing`: pictures whose files are gone."""
    permitted = (
        "**Exported for training**, under this permission: "
        f"{made.file.training_permission}. It covers what it says and nothing else.\n\n"
    )
    parts = [
        _header(made, tables),
        f"# {made.file.title}",
        f"{made.file.purpose}\n\nA study by {made.file.researcher} ({made.file.contact}), with the chat "
        "bot Pastiche, which writes and draws openly in a declared manner.",
        _summary(made, tables),
        "## What it is for, and what it must not be used for",
        DUTIES if made.options.purpose != "training" else permitted + DUTIES,
        "## Tables",
        _contents(tables),
        LOADING,
        "## Who is in it",
        flow_table(made, tables),
        "## Consent",
        consent_table(tables),
        "## Experiments",
        experiment_table(tables),
        "## Experts",
        expert_table(tables, registry),
        "## What was taken out",
        _scrubbed(made, missing),
        "## k-anonymity",
        _anonymity(made),
        "## Limits",
        LIMITS + (PUBLIC_LIMITS if made.how.form == "public" else PRIVATE_LIMITS),
        "## How it was made",
        _making(made),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


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


def _contents(tables: Tables) -> str:
    rows = [(f"`{name}`", len(tables[name]), table_words(name)["about"]) for name in FILES]
    return table(["table", "rows", "one row is"], rows) + (
        "\n\nEach is there as `.parquet`, `.jsonl` and `.csv`, with the same rows in the same order. "
        "What the columns mean stands in [codebook.md](codebook.md)."
    )


def _scrubbed(made: ExportFacts, missing: int) -> str:
    scrub, blanked = made.scrub, made.shaped.blanked
    counts = ", ".join(f"`[{kind}]` {count}" for kind, count in sorted(scrub.taken.items()))
    words = [
        f"Looked for with {made.scrub.name}: {', '.join(KINDS)}. Replaced by placeholders: "
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
    names = {
        "people": "people",
        "groups_before": "combinations found",
        "groups_too_small_before": "of them with fewer than k people",
        "smallest_group_before": "people in the smallest",
        "groups_after": "combinations left",
        "smallest_group_after": "people in the smallest that is left",
    }
    rows = [(words, report[name]) for name, words in names.items() if name in report]
    cells = report.get("cells_coarsened", {})
    rows += [(f"cells of `{name}` coarsened", count) for name, count in cells.items()]
    return f"{lead}\n\n{table(['', 'n'], rows)}"


def _making(made: ExportFacts) -> str:
    rows = [
        ("program", f"Pastiche {made.version}"),
        ("code", made.commit),
        ("schema of the ledger", made.schema),
        ("study", made.options.study),
        ("experiment", made.options.experiment or "all"),
        ("form", made.how.form),
        ("times", made.how.times),
        ("purpose", made.options.purpose),
        ("the study's key", made.key),
    ]
    return table(["", ""], rows) + (
        "\n\nThe same ledger, options, program and review list make the same bytes. `SHA256SUMS` has "
        "the digest of every file (`sha256sum -c SHA256SUMS`), `rows.jsonl` that of every row."
    )
