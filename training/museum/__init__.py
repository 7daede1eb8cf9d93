"""Harvest the V&A's open catalogue: search, records, pictures, and their four weeks on this machine."""
