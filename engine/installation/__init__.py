"""Add an expert to a card folder and take one out: checked, copied, its card written."""
