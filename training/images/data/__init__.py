"""Turn a folder of captioned pictures into latents and embeddings to train on."""
