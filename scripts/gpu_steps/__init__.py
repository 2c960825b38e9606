"""The parts of `scripts/gpu_step.py`: models, kernels, steps, whole calls, and the table."""
