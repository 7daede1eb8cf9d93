"""Captions for pictures, by a service that looks at them."""
