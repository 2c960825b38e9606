"""The claims about a run, and the evidence that each is judged by."""
