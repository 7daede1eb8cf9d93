"""Schema versions in order; each is applied whole or not at all."""
