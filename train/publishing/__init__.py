"""What a finished run publishes: RUN/model with its model card, and the model as a GGUF file."""
