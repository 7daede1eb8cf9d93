"""What is shipped as text: the consent, of which a study may have its own, and pages of an export."""
