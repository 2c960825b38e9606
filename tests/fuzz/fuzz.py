"""Fuzz one target, guided by coverage: `python tests/fuzz/fuzz.py countdown --seconds 60`.

An exception, more than a second of the processor, or memory over the limit ends the fuzzing with the input in
`build/fuzz`.
Inputs that reached something new are kept in `build/fuzz/TARGET`, so a later call goes on from them; the first ones are
those of `tests/data/exploits.jsonl` and `math_pairs*.jsonl`. The last lines say how many inputs were run.
"""

import argparse
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))  # run as a file from the root, where the packages lie

import atheris  # noqa: E402

with atheris.instrument_imports(include=["data", "eval"], enable_loader_override=False):
    from seeds import seed_texts
    from targets import TARGETS

SECONDS_AN_INPUT = 1  # of the processor
SECONDS_ON_THE_CLOCK = 60  # a busy machine is no failure
MEMORY = 2_048  # MiB of the whole process
LONGEST = 4_096  # bytes of an input; megabytes are tested apart, since a fuzzer would spend its time on them


def main() -> None:
    """Run the command line; libFuzzer ends the process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--seconds", type=int, default=60, help="how long (default: %(default)s)")
    given = parser.parse_args()
    target = TARGETS[given.target]
    folder = ROOT / "build" / "fuzz"
    corpus, seeds = folder / given.target, folder / f"{given.target}-seeds"
    for made in (corpus, seeds):
        made.mkdir(parents=True, exist_ok=True)
    for number, text in enumerate(seed_texts()):
        (seeds / f"{number:04d}").write_bytes(text.encode(errors="replace")[:LONGEST])
    options = {
        "max_total_time": given.seconds,
        "timeout": SECONDS_ON_THE_CLOCK,
        "rss_limit_mb": MEMORY,
        "max_len": LONGEST,
        "dict": Path(__file__).parent / "tokens.dict",
        "artifact_prefix": f"{folder}/{given.target}-",
        "print_final_stats": 1,
        "verbosity": 0,
        "close_fd_mask": 0,
    }
    arguments = [sys.argv[0], *(f"-{name}={value}" for name, value in options.items()), str(corpus), str(seeds)]

    def run(data: bytes) -> None:
        began = time.process_time()
        target(data.decode(errors="replace"))
        taken = time.process_time() - began
        assert taken < SECONDS_AN_INPUT, f"it took {taken:.1f} s of the processor"

    atheris.Setup(arguments, run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
