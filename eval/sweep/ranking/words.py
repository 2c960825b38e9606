"""A sweep's result in words that claim no more than it shows."""

from dataclasses import asdict

from eval import table
from eval.measures.estimators import Estimate
from eval.sweep.ranking.results import Results
from eval.sweep.setup.spec import Spec

DECODING = ("temperature", "top_p", "top_k", "min_p", "max_completion_length", "system_prompt")
FEW = 3  # seeds; with fewer, an interval says nothing of other seeds


def figure(metric: str, estimate: Estimate | None) -> str:
    """`61.2% [55.0, 67.4]`."""
    name, values = metric.partition("/")[0], None if estimate is None else asdict(estimate)
    return f"{table.show(name, values)} {table.show_interval(name, values)}".strip()


def difference(metric: str, estimate: Estimate | None) -> str:
    """`+3.1 points [-1.0 to +7.2]`, of how much better one trial is than another."""
    name, values = metric.partition("/")[0], None if estimate is None else asdict(estimate)
    return f"{table.show_change(name, values)} [{table.show_change_interval(name, values)}]"


def verdict(results: Results) -> str:
    """Which trial is first, and whether it is clearly ahead of the next."""
    if not results.ranked:
        return "No trial is complete, so there is nothing to rank."
    spec, (first, *rest) = results.spec, results.ranked
    text = (
        f"Trial {first.number} is first: {spec.measured} {figure(spec.metric, first.estimate)} over {seeds(spec)} and "
        f"{results.problems} validation problems."
    )
    if not rest:
        return f"{text} No other trial is complete."
    if rest[0].behind is None:
        return text
    noise = "within noise" if rest[0].within_noise else "clear of zero"
    return f"{text} The next, trial {rest[0].number}, is behind by {difference(spec.metric, rest[0].behind)}: {noise}."


def seeds(spec: Spec) -> str:
    """`1 seed`, `3 seeds`."""
    return f"{len(spec.seeds)} seed{'s' if len(spec.seeds) > 1 else ''}"


def trials(numbers: list[int]) -> str:
    """`trial 3`, `trials 3 and 5`, `trials 1, 3 and 5`."""
    if len(numbers) == 1:
        return f"trial {numbers[0]}"
    return f"trials {', '.join(map(str, numbers[:-1]))} and {numbers[-1]}"


def cautions(results: Results) -> list[str]:
    """Cautions against reading too much into the ranking."""
    spec, sentences = results.spec, []
    if results.ties:
        sentences.append(
            f"The first is within noise of {trials([entry.number for entry in results.ties])}: on other seeds or other "
            "problems any of them might be first. Take the cheapest or the simplest, or run more seeds of these."
        )
    if len(spec.seeds) < FEW:
        sentences.append(
            f"With {seeds(spec)} of each trial next to nothing is known of the luck of training; take {FEW}."
        )
    if len(results.ranked) > 1:
        sentences.append(
            f"The best of {len(results.ranked)} is partly the luckiest: expect less of it on new seeds and problems. "
            "The test set has not been touched; evaluate the best on it, once, before saying how good it is."
        )
    chosen = ("temperature",) if spec.temperatures else ()
    if decoded := [field for field in spec.search if field in DECODING and field not in chosen]:
        sentences.append(
            f"{' and '.join(decoded)} was searched, and is how the validation problems are answered as well: part of a "
            "difference may be the decoding and not what was learnt."
        )
    if not results.over:
        sentences.append("The sweep is not over; this is how it stands.")
    return sentences
