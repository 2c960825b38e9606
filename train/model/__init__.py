"""Loading a model and its tokenizer, how it is spoken to, and how its completions are judged."""
