"""The publication of a finished run: RUN/model with its model card, and the model as a GGUF file."""
