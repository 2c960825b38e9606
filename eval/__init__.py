"""Measuring checkpoints honestly: estimators, behaviours read off the traces, comparisons and the report.

Reads checkpoints and run folders only. Nothing measured here may become a reward: `train/` never imports this.
"""
