"""A LoRA for a text-to-image base of SDXL's layout: pictures, caches, losses, the loop, saving."""
