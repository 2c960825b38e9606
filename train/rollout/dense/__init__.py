"""Rollouts on a CPU: one pass over a pool of blocks for decode and prefill together."""
