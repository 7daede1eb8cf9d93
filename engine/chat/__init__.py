"""What clients share besides requests: quotas, places, feedback, retention, /forget."""
