"""The page of one evaluation: the sheet, and the figures in plain sentences. Pure."""

from typing import Any

from training.run.evaluation import table

SHEET = "before-after.png"
NEAREST = "training-pictures/nearest.png"


def lines_of(values: dict[str, Any]) -> list[str]:
    """Say every figure in a line, for the page and the model card."""
    return [
        *held_out_lines(values["held_out"]),
        *memory_lines(values["memory"]),
        *attribute_lines(values["attributes"]),
    ]


def held_out_lines(held: dict[str, Any]) -> list[str]:
    if not held:
        return ["no object was held out, so there is no held-out loss"]
    base, lora = held["base"]["loss"], held["lora"]["loss"]
    return [
        f"held-out loss on {held['pictures']} pictures, the same noise for both: base {base:.4f}, "
        f"LoRA {lora:.4f} ({(lora - base) / base:+.1%})"
    ]


def memory_lines(memory: dict[str, Any]) -> list[str]:
    lora = memory["lora"]
    line = (
        f"nearest training picture of {lora['pictures']} drawn ones: similarity {lora['p95']:.3f} "
        f"(95th percentile), {lora['p99']:.3f} (99th); the base's: {memory['base']['p95']:.3f}, "
        f"{memory['base']['p99']:.3f}; near-duplicates by hash: {lora['near_duplicates']}"
    )
    if "suspect_share" not in lora:
        return [line]
    return [
        line,
        f"nearer to a training picture than 99 in 100 held-out photographs are: "
        f"{lora['suspect_share']:.1%} of its pictures (aim: 1 % at most); nearer to training than to "
        f"held-out photographs by {lora['gap']:+.3f} (aim: about 0)",
    ]


def attribute_lines(found: dict[str, Any]) -> list[str]:
    if not found:
        return []
    return [
        f"{name} as asked in {found['lora'][name]:.0%} of {found['asked']} pictures (base "
        f"{found['base'][name]:.0%}{judged(found, name)})"
        for name in found["lora"]
    ]


def judged(found: dict[str, Any], name: str) -> str:
    real = found.get("photographs")
    return f"; the judge is right on {real[name]:.0%} of held-out photographs" if real else ""


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
