"""What clients share besides requests: quotas, debts, settings of places, ratings, blocks."""
