"""Experiments: files, enrolment, arms, exposures, questionnaires, passages to guess."""
