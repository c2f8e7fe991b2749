"""Explanations: maps of where a network looked."""
