"""Several processes and machines: sharded weights, ranks that watch each other, a folder that all see."""
