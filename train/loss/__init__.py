"""What reaches TRL's loss: which tokens are masked, how rows share micro-batches, how sampled tokens are weighted."""
