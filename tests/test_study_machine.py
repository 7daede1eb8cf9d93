"""The study against its models; for hours: python -m tests.benchmarks study_machine."""

import pytest
from experiment_machine import ExperimentMachine
from flow_machine import FlowMachine
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from study_machine import StudyMachine

SHORT = {"deadline": None, "suppress_health_check": list(HealthCheck)}


def runs(everyday: int, long: int) -> pytest.MarkDecorator:
    """How many runs of a machine."""
    return pytest.mark.parametrize("runs", [everyday, pytest.param(long, marks=pytest.mark.long)])


@runs(5, 50)
def test_whatever_happens_the_record_is_as_the_model_says(runs: int) -> None:
    short = settings(max_examples=runs, stateful_step_count=30, **SHORT)
    run_state_machine_as_test(StudyMachine, settings=short)


@runs(5, 40)
def test_whatever_happens_no_experiment_costs_another_a_unit_nor_takes_too_much(runs: int) -> None:
    short = settings(max_examples=runs, stateful_step_count=25, **SHORT)
    run_state_machine_as_test(ExperimentMachine, settings=short)


@runs(2, 16)
def test_whatever_happens_in_a_flow_nobody_meets_anything_twice_nor_is_one_too_many(
    runs: int,
) -> None:
    short = settings(max_examples=runs, stateful_step_count=30, **SHORT)
    run_state_machine_as_test(FlowMachine, settings=short)
