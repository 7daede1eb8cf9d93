"""The platforms: what people type and see. Knows no models."""
