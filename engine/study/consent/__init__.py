"""Consent to the study: the form, the log, invitations, places, linked accounts."""
