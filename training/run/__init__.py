"""Run a training: recipe, rights, run folder, checkpoints, record, and what both trainers share."""
