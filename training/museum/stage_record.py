"""`run.json` of a museum data set: what each stage was made of and what came out."""

from pathlib import Path
from typing import Any

from training.museum.harvest_recipe import HarvestRecipe
from training.runs.atomic import write_json
from training.runs.recipe import placeless
from training.runs.record import now, read_record, surroundings


def note_stage(run: Path, recipe: HarvestRecipe, stage: str, facts: dict[str, Any]) -> None:
    """Add one finished stage to the record; no place on this machine, no text of the museum's."""
    values = recipe.model_dump(mode="json")
    values["caption"]["model"] = placeless(values["caption"]["model"])
    record = read_record(run) | {
        "name": recipe.run.name,
        "recipe": values,
        "rights": values["rights"],
        "seed": recipe.run.seed,
    }
    record.setdefault("stages", {})[stage] = {"finished": now(), **surroundings(), **facts}
    run.mkdir(parents=True, exist_ok=True)
    write_json(run / "run.json", record)
