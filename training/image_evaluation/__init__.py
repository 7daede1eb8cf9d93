"""Has a LoRA for pictures learnt its manner, and only the manner? Base and LoRA, same seeds."""
