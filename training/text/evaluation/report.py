"""The evaluation as one Markdown page. Pure."""

from collections.abc import Mapping
from typing import Any

from training.run.evaluation import table

Values = dict[str, Any]
DIVERSITY = {
    "distinct_1": ("distinct words", ".3f"),
    "distinct_2": ("distinct pairs", ".3f"),
    "repeated_4": ("repeated 4-grams", ".2%"),
    "sentence_words": ("words a sentence", ".1f"),
}


def page(values: Values, command: str) -> str:
    parts = [
        "# Evaluation of " + ", ".join(values["matrix"]["base"]),
        f"Made by `{command}`. Base: `{values['base']}`. Held-out text took no part "
        "in training or in the choice of a checkpoint.",
        "## Perplexity on held-out text",
        matrix_table(values["matrix"]),
        gains(values["matrix"]),
        "## Style classifier",
        "Character 3- to 5-grams, TF-IDF, logistic regression, fitted on the training texts. "
        f"Share of {values['samples']} samples a writer (neutral prompts, no author named).",
    ]
    if values["style"]:
        style, ceiling = values["style"], values["ceiling"]
        rows = [
            [a, f"{style[a]['base'][a]:.0%}", f"{style[a][a][a]:.0%}", f"{ceiling[a]:.0%}"]
            for a in style
        ]
        parts.append(table(["target", "base", "expert", "real held-out text (ceiling)"], rows))
    else:
        parts.append("Not measured: it takes at least two authors.")
    parts += [
        "## Burrows's Delta",
        "Distance of the samples, taken together, to each author; lower is nearer.",
        writers_table(values["delta"], {a: (f"to {a}", ".3f") for a in values["delta"]}),
        "## Memorisation",
        memory_table(values["memory"]),
        "## Repetition and diversity",
        writers_table(values["diversity"], DIVERSITY),
        "## Side by side: the source report's prompt",
        *side_by_side(values["side_by_side"]),
    ]
    return "\n\n".join(parts) + "\n"


def matrix_table(matrix: Values) -> str:
    authors = list(matrix["base"])
    rows = []
    for name, row in matrix.items():
        cells = []
        for author in authors:
            low, high = row[author]["interval"]
            cells.append(
                f"{row[author]['perplexity']:.2f} ({low:.1f} to {high:.1f}), "
                f"{row[author]['bits_per_byte']:.3f} b/B"
            )
        rows.append([name, *cells])
    return table(["model", *(f"on {author}" for author in authors)], rows)


def gains(matrix: Values) -> str:
    """Say for each expert how much lower it is than the base, and than the nearest other expert."""
    lines = []
    for author in matrix["base"]:
        own = matrix[author][author]["perplexity"]
        base = matrix["base"][author]["perplexity"]
        others = [matrix[n][author]["perplexity"] for n in matrix if n not in ("base", author)]
        line = f"- {author}: {1 - own / base:.1%} below the base"
        if others:
            line += f", {1 - own / min(others):.1%} below the nearest other expert"
        lines.append(line + ".")
    return "\n".join(lines)


def writers_table(found: Values, columns: Mapping[str, tuple[str, str]]) -> str:
    """Lay out figures of each author's writers; `columns` gives each figure's head and format."""
    rows = [
        [
            f"{writer}, prompts of {author}",
            *(f"{row[key]:{how}}" for key, (_, how) in columns.items()),
        ]
        for author, writers in found.items()
        for writer, row in writers.items()
    ]
    return table(["writer", *(head for head, _ in columns.values())], rows)


def memory_table(memory: Values) -> str:
    rows = []
    for author, found in memory.items():
        own, real, pulled = found["samples"], found["unseen_text"], found["extraction"]
        rows.append(
            [
                author,
                f"{own['longest_p95']} / {own['longest']}",
                f"{real['longest_p95']} / {real['longest']}",
                f"{own['known_13_grams']:.2%}",
                f"{pulled['expert']['train']['exact']:.0%} of {pulled['expert']['train']['tried']}",
                f"{pulled['base']['train']['exact']:.0%}",
                f"{pulled['expert']['test']['exact']:.0%}",
            ]
        )
    head = ["expert", "longest run p95 / max", "same, unseen real text", "known 13-grams"]
    head += ["50+50 extraction, seen", "same, base", "same, unseen"]
    return table(head, rows)


def side_by_side(pairs: Values) -> list[str]:
    parts = []
    for author, found in pairs.items():
        rows = [
            [pair[who].replace("|", "\\|").replace("\n", "<br>") for who in ("base", "expert")]
            for pair in found
        ]
        parts += [f"### {author}", table(["base", "expert"], rows)]
    return parts
