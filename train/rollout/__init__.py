"""Rollouts: sampling completions from the model in training, behind one interface."""
