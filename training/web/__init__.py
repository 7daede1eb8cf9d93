"""Fetch over HTTP politely: one connection, a pace, retries, a journal."""
