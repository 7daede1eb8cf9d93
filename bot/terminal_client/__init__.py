"""The chat in a terminal, and `pastiche ask`."""
