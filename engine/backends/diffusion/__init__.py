"""SDXL in rooms: the base in memory, its LoRAs, words, the denoising loop, pictures out of latents."""
