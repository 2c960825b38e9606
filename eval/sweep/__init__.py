"""Sweeps: many settings of one run tried, each with several seeds, and an answer with its uncertainty.

A trial is a setting; its runs are that setting's seeds, replicas of each other, never candidates to choose among. Every
run is an ordinary one of `train`'s, started by `accelerate launch`; nothing in `train/` knows of sweeps. The process
that runs a sweep never imports torch, so it holds no GPU's memory.
"""
