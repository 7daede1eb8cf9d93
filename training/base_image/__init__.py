"""The road to the embedded image base: a model of exactly SDXL's layout, small enough to commit."""
