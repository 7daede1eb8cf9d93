"""Fit a LoRA for pictures to a text-to-image base of SDXL's layout."""
