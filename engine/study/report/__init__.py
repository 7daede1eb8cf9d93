"""The report of a study: one self-contained page of figures, each with its n and the rows behind it."""
