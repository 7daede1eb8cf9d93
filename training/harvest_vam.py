"""Fetch pictures and records of jewellery from the V&A, politely, for at most four weeks."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from training.museum.dataset import verify_folder, verify_museum
from training.museum.harvest_recipe import HarvestRecipe, load_harvest_recipe, require_basis
from training.museum.harvester import ANSWERS, DATA, Harvester, alone, harvest, reasons
from training.run.expiry import guard
from training.run.record import note_stage
from training.run.stage import Changes, RecipeFile, RunsFolder, delete_due, run_stage, say

MEGABYTES_A_PICTURE = 0.8  # a 2500-pixel JPEG of an object on plain ground
DRIFT = 1  # exit status of a verification that found something


class Action(StrEnum):
    HARVEST = "harvest"
    VERIFY = "verify"
    PRUNE = "prune"


def main(
    recipe_file: RecipeFile,
    action: Annotated[Action, typer.Argument(help="What to do")] = Action.HARVEST,
    runs: RunsFolder = Path("runs"),
    changes: Changes = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count only: no record or picture is fetched")
    ] = False,
    offline: Annotated[
        bool, typer.Option("--offline", help="verify: compare the files, ask no museum")
    ] = False,
    keep_watch: Annotated[
        bool, typer.Option("--watch/--no-watch", help="Leave a process that prunes in time")
    ] = True,
) -> None:
    """Fetch, verify or prune a museum data set."""
    recipe = load_harvest_recipe(recipe_file, tuple(changes or ()))
    run = runs / recipe.run.name
    _, gone = delete_due(runs)
    if action is Action.PRUNE:
        say(f"Deleted {gone} expired picture{'' if gone == 1 else 's'} and their texts.")
    elif action is Action.VERIFY:
        verify(recipe, run, offline)
    else:
        require_basis(recipe)
        plan(recipe, run) if dry_run else fetch(recipe, run, keep_watch)


def fetch(recipe: HarvestRecipe, run: Path, keep_watch: bool) -> None:
    try:
        outcome = harvest(recipe, run)
    finally:  # also of one that was broken off
        for folder in (run / DATA, run / ANSWERS) if keep_watch else ():
            guard(folder)
    facts = {
        "data_root": outcome.root,
        "pictures": len(outcome.rows),
        "record_counts": outcome.counts,
        "dropped": reasons(outcome.dropped),
    }
    note_stage(run, recipe, "harvest", facts)
    tell(recipe, run, outcome)


def plan(recipe: HarvestRecipe, run: Path) -> None:
    with alone(run):
        parts = Harvester(recipe, run)
        objects = parts.search()
    pictures = sum(1 for found, _ in objects if found.base)
    calls = 3 * pictures  # a record, a size and a picture each
    minutes = calls * recipe.harvest.seconds_between / 60
    for term, count in parts.counts.items():
        say(f"{term}: {count} records")
    say(
        f"{len(objects)} objects, {pictures} with a picture. A harvest makes at most {calls} calls "
        f"({minutes:.0f} minutes) and takes about {pictures * MEGABYTES_A_PICTURE:.0f} MB. "
        "No picture was fetched."
    )


def verify(recipe: HarvestRecipe, run: Path, offline: bool) -> None:
    findings = verify_folder(run / DATA)
    if not offline:
        parts = Harvester(recipe, run)
        etags = {name: facts["etag"] for name, facts in parts.pictures.facts.items()}
        findings |= verify_museum(run / DATA, parts.pictures.client, etags)
    for kind, names in findings.items():
        for name in names:
            say(f"{kind}: {name}")
    if any(names for kind, names in findings.items() if kind != "expired"):
        say("The data differ from the lock file. Run the harvest again to renew both.")
        raise typer.Exit(DRIFT)
    say("The data are those of the lock file.")


def tell(recipe: HarvestRecipe, run: Path, outcome: Harvester) -> None:
    objects = len({row["system_number"] for row in outcome.rows})
    say(
        f"{len(outcome.rows)} pictures of {objects} objects in {run / DATA} "
        f"({outcome.museum.asked} records and sizes asked for, "
        f"{outcome.pictures.fetched} pictures fetched now)."
    )
    for reason, count in reasons(outcome.dropped).items():
        say(f"left out, {reason}: {count}")
    say(f"root {outcome.root}")
    soonest = min(row["expires_at"] for row in outcome.rows)[:10]
    say(f"The museum's texts and pictures may stay until {soonest}.")
    if not recipe.rights.train_allowed:
        say("This folder may not be trained on: [rights] train_allowed is false. See the recipe.")


if __name__ == "__main__":
    run_stage(main)
