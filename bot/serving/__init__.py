"""The serving process: clients, debts, retention, metrics."""
