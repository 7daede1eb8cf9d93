"""The page of one evaluation: the sheet, and the figures in plain sentences. Pure."""

from typing import Any

from training.run.evaluation import table

SHEET = "before-after.png"
NEAREST = "training-pictures/nearest.png"


def lines_of(values: dict[str, Any]) -> list[str]:
    held, base, lora = values["held_out"], values["memory"]["base"], values["memory"]["lora"]
    lines = ["no object was held out, so there is no held-out loss"]
    if held:
        before, after = held["base"]["loss"], held["lora"]["loss"]
        lines = [
            f"held-out loss on {held['pictures']} pictures, the same noise for both: base "
            f"{before:.4f}, LoRA {after:.4f} ({(after - before) / before:+.1%})"
        ]
    real = values["memory"].get("photographs")
    floor = (
        f" (of {real['pictures']} held-out photographs {real['near_duplicates']})" if real else ""
    )
    lines.append(
        f"nearest training picture of {lora['pictures']} drawn ones: similarity {lora['p95']:.3f} "
        f"(95th percentile), {lora['p99']:.3f} (99th); the base's: {base['p95']:.3f}, "
        f"{base['p99']:.3f}; near-duplicates by hash: {lora['near_duplicates']}{floor}"
    )
    if "suspect_share" in lora:
        lines.append(
            f"nearer to a training picture than 99 in 100 held-out photographs are: "
            f"{lora['suspect_share']:.1%} of its pictures (chance gives about "
            f"{chance(real['pictures']):.0%}); nearer to as many training photographs as to held-out "
            f"ones by {lora['gap']:+.3f} (aim: about 0)"
        )
    detail = values["detail"]
    lines.append(
        f"finest detail, against photographs': base {detail['base']:.2f}, LoRA {detail['lora']:.2f}"
    )
    found = values["attributes"]
    real = found.get("photographs")
    for name, share in found.get("lora", {}).items():
        judged = f"; the judge is right on {real[name]:.0%} of held-out photographs" if real else ""
        lines.append(
            f"{name} as asked in {share:.0%} of {found['asked']} pictures (base "
            f"{found['base'][name]:.0%}{judged})"
        )
    return lines


def chance(held_out: int) -> float:
    """Tell how many of the pictures of somebody who never saw a photograph are above that percentile
    of few, which lies between their nearest and their second nearest."""
    return (1 + (held_out - 1) / 100) / (held_out + 1)


def page(name: str, values: dict[str, Any], command: str) -> str:
    held, times = values["held_out"], []
    if held:
        columns = held["times"], held["base"]["by_time"], held["lora"]["by_time"]
        times = [[f"{t}", f"{b:.4f}", f"{v:.4f}"] for t, b, v in zip(*columns, strict=True)]
    parts = [
        f"# {name}: base and LoRA",
        f"Made by `{command}`. For each seed left the base, right the LoRA.",
        f"![base and LoRA side by side]({SHEET})",
        "## Figures",
        "\n".join(f"- {line}" for line in lines_of(values)),
        table(("timestep", "base", "LoRA"), times) if held else "",
        "## Copying",
        "Each drawn picture that comes nearest to a training picture, beside that picture. The file "
        f"lies in `{NEAREST}`, and is deleted when the photographs must be.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"
