"""Fit a LoRA or QLoRA adapter to the blocks of a corpus."""
