"""The store of pictures."""
