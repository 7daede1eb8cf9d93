"""The study and its experiments, each against a model for long: runs, steps, and violations.

A violation ends it with the shortest history that shows it. Runs come in batches, each told when it is
done, so that one broken off has counted for something.
"""

import argparse
import logging
import sys
import time
from pathlib import Path

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.benchmarks.figures import Figure, clock

OPTIONS = argparse.ArgumentParser(prog="study_machine", description=__doc__)
OPTIONS.add_argument("--runs", type=int, default=200, help="the long form has 2000 (200)")
OPTIONS.add_argument("--steps", type=int, default=50)
BATCH = 50


def run(_folder: Path, options: argparse.Namespace) -> list[Figure]:
    """Raises AssertionError, after the history, at the first violation."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from experiment_machine import ExperimentMachine
    from flow_machine import FlowMachine
    from study_machine import StudyMachine

    machines = (StudyMachine, ExperimentMachine, FlowMachine)

    logging.disable(logging.ERROR)  # months pass in a run, and retention's alarm rings
    done, steps, start = 0, 0, time.monotonic()
    for machine in machines:
        machine.taken = 0

    with clock() as taken:
        while done < options.runs:
            batch = min(BATCH, options.runs - done)
            for machine in machines:
                run_state_machine_as_test(
                    machine,
                    settings=settings(
                        max_examples=batch,
                        stateful_step_count=options.steps,
                        deadline=None,
                        database=None,
                        phases=[Phase.generate, Phase.shrink],
                        suppress_health_check=list(HealthCheck),
                    ),
                )
            done += batch
            steps = sum(machine.taken for machine in machines)
            seconds = time.monotonic() - start
            sys.stderr.write(f"{done} runs, {steps} steps, 0 violations, {seconds:.0f} s\n")
    logging.disable(logging.NOTSET)
    times = {"wall_seconds": taken.wall, "cpu_seconds": taken.cpu}
    return [
        Figure(name="runs", value=done, unit="runs", against="2000", **times),
        Figure(name="steps", value=steps, unit="steps", against="100000"),
        Figure(name="violations", value=0, unit="", against="0"),
    ]
