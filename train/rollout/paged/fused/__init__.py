"""Fused layers for decoding: a layer in nine launches, its shadow weights, and the trial that accepts it."""
