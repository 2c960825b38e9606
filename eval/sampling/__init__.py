"""Samples of a model under evaluation: where its problems come from, who draws them, and where they are kept."""
