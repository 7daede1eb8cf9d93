"""The study against its model, in short; the long form: python -m tests.benchmarks study_machine."""

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from study_machine import StudyMachine


def test_whatever_happens_the_record_is_as_the_model_says() -> None:
    short = settings(
        max_examples=12,
        stateful_step_count=30,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(StudyMachine, settings=short)
