"""Files of weights: bases, adapters, their checks, and their installation."""
