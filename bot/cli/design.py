"""`pastiche study plan` and `preregister`: what is done before the first person comes."""

import hashlib
import sys
import time
from pathlib import Path
from statistics import NormalDist
from typing import Annotated

import typer

from bot.cli.experiments import StudyOption, on_study, settings_of
from bot.exit_codes import faults
from engine.errors import CommandError
from engine.files import write_file
from engine.study.study_services import StudyServices

design_app = typer.Typer()


@design_app.command("plan")
def plan_command(
    effect: Annotated[float, typer.Option(min=0.01, max=0.99, help="Share for the treated.")] = 0.6,
    pairs: Annotated[int, typer.Option(min=1, max=1000, help="That each judges.")] = 3,
    dprime: Annotated[
        float | None, typer.Option(min=-4, max=4, help="Of guesses, in the place of --effect.")
    ] = None,
    icc: Annotated[float, typer.Option(min=0, max=0.99, help="Likeness within a person.")] = 0.1,
    ties: Annotated[float, typer.Option(min=0, max=0.9, help="Share that is undecided.")] = 0.0,
    drop_out: Annotated[float, typer.Option(min=0, max=0.9, help="Share that leaves.")] = 0.0,
    power: Annotated[float, typer.Option(min=0.1, max=0.99)] = 0.8,
    level: Annotated[float, typer.Option(min=0.001, max=0.2, help="Of the test.")] = 0.05,
) -> None:
    """How many people a study needs, by simulating the test that is planned."""
    with faults():
        from engine.study.design.power import STUDIES, Design, needed
        from engine.study.design.power import power as power_of

        share = effect if dprime is None else NormalDist().cdf(dprime / 2)
        if abs(share - 0.5) < 0.001:
            raise CommandError("An effect of nothing is never found; name another.")
        design = Design(effect=share, judgements=pairs, icc=icc, ties=ties, level=level)
        people = needed(design, power)
        enrolled = round(people / (1 - drop_out) + 0.499)
        what = f"a share of {share:.0%}" if dprime is None else f"d′ = {dprime:g}"
        for number in sorted({max(4, people // 2), people, 2 * people}):
            told = power_of(number, design)
            sys.stdout.write(f"{number:>7,} people: power {told:.0%}\n")
        sys.stdout.write(
            f"{people:,} people find {what} with power {power:.0%}, {pairs} judgements of each, "
            f"icc {icc:g}, ties {ties:.0%}, at the level {level:g}; enrol {enrolled:,}. "
            f"({STUDIES:,} simulated studies for each number, errors by person.)\n"
        )


@design_app.command("preregister")
def preregister_command(
    name: Annotated[str, typer.Argument(help="The experiment's id.")],
    study: StudyOption = "",
    out: Annotated[Path | None, typer.Option(help="The document, Markdown.")] = None,
    power: Annotated[str, typer.Option(help="What was reckoned: the line of `plan`.")] = "",
) -> None:
    """Write design and analysis as one dated document, with its hash, to be deposited."""
    with faults():
        from engine.study.design.preregistration import document

        path = (out or Path(f"preregistration-{name}.md")).expanduser().absolute()
        if path.exists():
            raise CommandError(f"{path} is there already; it is not overwritten.")

        async def written(services: StudyServices) -> str:
            text = services.experiments.text_of(name)
            experiment = services.experiments.named(name)
            assert experiment is not None, "it has a text"
            used = {step.stimuli for step in experiment.steps if step.stimuli}
            digests = {f"stimuli {pool}": services.experiments.pools[pool] for pool in sorted(used)}
            for locale, consent in services.study.texts.items():
                digests[f"consent, {locale}"] = consent.sha256
            return document(experiment, text, digests, power, time.time())

        whole = on_study(settings_of(study), written)
        write_file(path, whole)
        digest = hashlib.sha256(whole.encode()).hexdigest()
        sys.stdout.write(f"{path}\nSHA-256 {digest}\n")
