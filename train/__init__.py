"""Configuration, models, the cold start and the reinforcement learning; knows nothing of any one task."""
