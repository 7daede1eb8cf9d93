"""The study against its models, in short; the long form: python -m tests.benchmarks study_machine."""

from experiment_machine import ExperimentMachine
from flow_machine import FlowMachine
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from study_machine import StudyMachine

SHORT = {"deadline": None, "suppress_health_check": list(HealthCheck)}


def test_whatever_happens_the_record_is_as_the_model_says() -> None:
    short = settings(max_examples=12, stateful_step_count=30, **SHORT)
    run_state_machine_as_test(StudyMachine, settings=short)


def test_whatever_happens_no_experiment_costs_another_a_unit_nor_takes_too_much() -> None:
    short = settings(max_examples=10, stateful_step_count=25, **SHORT)
    run_state_machine_as_test(ExperimentMachine, settings=short)


def test_whatever_happens_in_a_flow_nobody_meets_anything_twice_nor_is_one_too_many() -> None:
    short = settings(max_examples=4, stateful_step_count=30, **SHORT)
    run_state_machine_as_test(FlowMachine, settings=short)
