"""Serves a checkpoint at an OpenAI-compatible address; the chat page and the terminal client."""
