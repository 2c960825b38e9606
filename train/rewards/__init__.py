"""Rewards: correctness by the task's verifier, further terms, the user's own functions, and the log of rollouts."""
