"""Fixed sets of problems and of reasoning traces, read from JSONL, parquet or the Hugging Face hub."""
