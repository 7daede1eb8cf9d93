"""Captions for pictures, by whoever can look at them: a service, a local model, the catalogue."""
