"""A checkpoint behind an OpenAI-compatible address, and the pages and terminal that talk to it."""
