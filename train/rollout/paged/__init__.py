"""Rollouts over a block table: the decode step for CUDA, shaped statically, which a CUDA graph captures."""
