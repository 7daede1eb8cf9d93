"""The design of an experiment, before the first person: its file, checks, power, preregistration."""
