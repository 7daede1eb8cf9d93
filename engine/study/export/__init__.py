"""The export of a study: dataset, disclosure control, codebook, card, manifest."""
