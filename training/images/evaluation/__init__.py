"""Measure whether a LoRA for pictures has learnt its manner, and only the manner."""
