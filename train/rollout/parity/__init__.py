"""The engine's log-probabilities held against the trainer's own."""
