"""What `pastiche doctor` finds of models: whether they are here, whole, and made for each other."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engine.errors import ModelError
from engine.plan.cards import Expert, Registry
from engine.weights import bases
from engine.weights.adapter_fit import check_expert
from engine.weights.bases import EMBEDDED, SHIPPED, how_to_prepare, is_whole_model, place_here
from engine.weights.weight_files import SUMS, damaged, digest_of


@dataclass(frozen=True, slots=True)
class Finding:
    """`mark` is ok, note or bad; `advice` says what to do unless it is ok."""

    mark: Literal["ok", "note", "bad"]
    what: str
    advice: str = ""


def look_at_models(registry: Registry, models: Path) -> list[Finding]:
    """Check every expert's base and adapter, and the bytes of our own bases. Takes seconds."""
    findings = []
    used = {registry.weights(e).base for e in registry.experts}
    for base in sorted(used & {*EMBEDDED, *SHIPPED}):
        if (folder := place_here(base, models)) is not None:
            findings += _bytes(base, damaged(folder))
    for expert in registry.experts:
        findings.append(_expert(expert, registry, models))
        if expert.rights.territories:
            where = ", ".join(expert.rights.territories)
            advice = f"Serve it elsewhere only after looking into this. {expert.rights.basis}"
            what = f"{expert.name}: its rights hold in {where} only"
            findings.append(Finding("note", what, advice))
    return findings


def _bytes(base: str, wrong: list[str]) -> list[Finding]:
    if not wrong:
        return []
    mend = f"Run: {how_to_prepare(base)}" if base in EMBEDDED else "Install this release anew."
    if wrong == [SUMS]:
        what = f"the bytes of {base} cannot be checked, an older release made it"
        return [Finding("note", what, mend)]
    return [Finding("bad", f"{base} is not as it was made: {', '.join(wrong[:3])}", mend)]


def _expert(expert: Expert, registry: Registry, models: Path) -> Finding:
    weights = registry.weights(expert)
    what = f"{expert.name}: base {weights.base}, adapter {weights.adapter or 'none'}"
    if not bases.present(weights.base, models):
        return Finding("note", what, _absent(weights.base))
    if not weights.adapter:
        return Finding("ok", what)
    adapter = place_here(weights.adapter, models)
    if adapter is None:
        return Finding("note", what, "The adapter is not here, so the base answers alone.")
    try:
        if not is_whole_model(adapter):
            check_expert(expert.name, expert.medium, adapter, weights.base, models)
        if weights.speed and (speed := place_here(weights.speed, models)) is not None:
            check_expert(weights.speed, expert.medium, speed, weights.base, models)
        if weights.digest and digest_of(adapter) != weights.digest:
            advice = "Its adapter is not the one on its card. Restore the file, or add it anew."
            return Finding("bad", what, advice)
    except (ModelError, OSError) as error:
        return Finding("bad", what, str(error))
    return Finding("ok", what)


def _absent(base: str) -> str:
    if base in EMBEDDED:
        return f"Run: {how_to_prepare(base)}"
    if base in SHIPPED:
        return "This copy of the program came without its weights. Install a release that has them."
    return "It is fetched from the hub at first use; gated models need HF_TOKEN."
