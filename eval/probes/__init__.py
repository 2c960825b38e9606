"""Probes of what a checkpoint's thinking is worth: budgets, injected errors, second turns, altered thinking."""
