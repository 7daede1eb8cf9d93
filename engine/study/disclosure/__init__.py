"""Disclosure control: what must not be told of a person is found and taken out."""
