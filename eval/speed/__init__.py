"""The speed of rollout engines, measured."""
