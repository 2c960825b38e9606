"""The report of a run: one self-contained page that shows what it learnt and how its rollouts read."""
