"""Accuracy against training compute and against thinking tokens."""
