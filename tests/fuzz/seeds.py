"""The texts that fuzzing begins with."""

import json
from pathlib import Path

DATA = Path(__file__).parents[1] / "data"


def seed_texts() -> list[str]:
    """Answers and completions made to fool a verifier, the very long ones cut short, and answers of mathematics."""
    exploits, *pairs = (
        [json.loads(line) for line in (DATA / name).read_text().splitlines()]
        for name in ("exploits.jsonl", "mathematics/math_pairs.jsonl", "mathematics/math_pairs_strict.jsonl")
    )
    texts = [pair["answer"] for file in pairs for pair in file]
    for entry in exploits:
        rest = entry.get("unit", "") * min(entry.get("times", 0), 50) + entry.get("then", "")
        if "answer" in entry:
            texts.append(entry["answer"] + rest)
        texts.append(entry.get("completion", "<think> hm</think> " + entry.get("answer", "")) + rest)
    return texts
