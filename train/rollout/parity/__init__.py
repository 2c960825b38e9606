"""Compares the engine's log-probabilities with the trainer's own."""
