"""Layers of other families, through `torch.compile`."""
