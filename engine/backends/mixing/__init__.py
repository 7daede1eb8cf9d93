"""Mixed-expert continuous batching: rows join and leave at every step, each meets its own adapter.

The order of a step: scheduler (who sits where) → decoder (one forward over every row's tokens, one
class a layout) → sampler (one token a row) → sequence (text, stop rules, events). Only this package's
modules import torch at their top; nothing on a start-up path imports them.
"""
