"""The other back ends behind the engine's interface: transformers' `generate` and vLLM."""
