"""The test-compute curves: accuracy against thinking tokens, one sample's and several samples' together.

Sequential: thinking is closed at a budget, or goes on past its end ("Wait"), as in s1 (Muennighoff et al. 2025). The x
axis is what was really used. Parallel: the same tokens spent on k samples, by majority (maj@k) and with a perfect judge
of the answers (pass@k).
"""

from collections.abc import Sequence
from dataclasses import asdict
from itertools import combinations
from typing import Any

import numpy as np

from eval.measures.at_k import maj_at_k, pass_at_k
from eval.measures.estimators import Estimate, Sums, paired_difference, ratio, trend
from eval.measures.rows import SampleRow
from eval.measures.sample_measures import as_json, correct_by_problem, measure
from eval.probes.budget import HABIT, Budget
from eval.sampling.baselines import vote

TAUS = (0.25, 0.5, 0.75, 0.9, 1.0)


def sequential(budgets: Sequence[Budget], rows: Sequence[list[SampleRow]]) -> dict[str, Any]:
    """One model's curve over the budgets, with s1's three figures and two trends (`estimators.trend`).

    `rise` is that over the budgets without "Wait"; `extension` that from the largest of these on, as "Wait" carries
    thinking past the end that the model had chosen. The two ask different things: a model may need the tokens that it
    takes, and have no use for more. Three differences ask more: `beyond_habit` is accuracy at the largest budget minus
    that at the mean thinking of the model before RL, `room` that minus accuracy at the longest completion in
    training, and `wait` what "Wait" changes against the latter. Each is None where the context had no room for it.
    """
    points: list[dict[str, Any]] = []
    for budget, table in zip(budgets, rows, strict=True):
        estimates = measure(table)
        values = {key: estimates[key] for key in ("accuracy", "thinking_tokens", "truncated")}
        points.append({"budget": budget.name, "limit": budget.limit, "waits": budget.waits} | as_json(values))
    lengths = [[row["thinking_tokens"] for row in table] for table in rows]
    within = [count <= budget.limit for budget, counts in zip(budgets, lengths, strict=True) for count in counts]
    figures = s1_figures(
        [float(np.mean(counts)) for counts in lengths], [point["accuracy"]["value"] for point in points], within
    )
    right = [correct_by_problem(table) for table in rows]
    limits = [place for place, budget in enumerate(budgets) if not budget.waits]
    extensions = [place for place, budget in enumerate(budgets) if budget.waits]
    usual = max(place for place in limits if not budgets[place].more)
    habit = [place for place in limits if budgets[place].name == HABIT]
    trends = {
        "rise": trend([right[place] for place in limits]) if len(limits) > 1 else None,
        "extension": trend([right[place] for place in [limits[-1], *extensions]]) if extensions else None,
        "beyond_habit": paired_difference(right[habit[0]], right[limits[-1]]) if habit else None,
        "room": paired_difference(right[usual], right[limits[-1]]) if budgets[limits[-1]].more else None,
        "wait": paired_difference(right[usual], pooled([rows[place] for place in extensions])) if extensions else None,
    }
    return {"points": points, "s1": figures, **as_json(trends)}


def pooled(tables: Sequence[list[SampleRow]]) -> Sums:
    """Right samples and samples of each problem over several tables alike."""
    return correct_by_problem([row for rows in tables for row in rows])


def area_between(base: Sequence[tuple[float, Sums]], trained: Sequence[tuple[float, Sums]]) -> Estimate | None:
    """How far one curve is above another at equal tokens: the area between them over its width, in accuracy.

    Each point is its mean tokens and the right samples and samples of each problem. Between points a curve is straight
    over the logarithm of tokens; before its first point and behind its last it is level, since a smaller budget than
    the first was not tried and a larger than the last is not used up. The width is from the later start to the later
    end. The area is a weighted sum of accuracies, so its interval resamples whole problems like any other.
    """
    curves = [sorted(curve, key=lambda point: point[0]) for curve in (base, trained)]
    start, end = (max(np.log(curve[place][0]) for curve in curves) for place in (0, -1))
    at = np.linspace(start, end, 201)
    areas = []
    for curve in curves:
        tokens = np.log([point[0] for point in curve])
        rates = np.stack([right / of for _, (right, of) in curve])  # (points, problems)
        areas.append(np.array([np.interp(at, tokens, column).mean() for column in rates.T]))
    ones = np.ones(len(areas[0]))
    return paired_difference((areas[0], ones), (areas[1], ones))


def thinking_points(rows: Sequence[list[SampleRow]]) -> list[tuple[float, Sums]]:
    """The points of a sequential curve for `area_between`, from the rows of each budget."""
    return [
        (max(1.0, float(np.mean([row["thinking_tokens"] for row in table]))), correct_by_problem(table))
        for table in rows
    ]


def parallel_areas(base: list[SampleRow], trained: list[SampleRow]) -> dict[str, Any]:
    """`area_between` of pass@k and of maj@k, over the tokens of all k samples."""
    return as_json(
        {
            name: area_between(*(list(zip(_tokens(rows), of(_groups(rows)), strict=True)) for rows in (base, trained)))
            for name, of in (("pass", _passed), ("maj", _elected))
        }
    )


def s1_figures(tokens: Sequence[float], accuracies: Sequence[float], within: Sequence[bool]) -> dict[str, float]:
    """Control, scaling and performance (Muennighoff et al. 2025, equations 1 to 3).

    Control is the share of completions that kept within their budget (the paper takes evaluations' means; this is
    stricter). Scaling is the mean slope between all pairs of points, accuracy gained a token. Performance is the best
    accuracy.
    """
    pairs = combinations(sorted(zip(tokens, accuracies, strict=True)), 2)
    slopes = [(high - low) / (more - less) for (less, low), (more, high) in pairs if more > less]
    return {
        "control": float(np.mean(within)),
        "scaling": float(np.mean(slopes)) if slopes else 0.0,
        "performance": max(accuracies),
    }


def compare_sequential(base: Sequence[list[SampleRow]], trained: Sequence[list[SampleRow]]) -> dict[str, Any]:
    """`trained` minus `base` over all budgets together (`above`), and at each: the limits are the same for both."""
    each = [
        paired_difference(correct_by_problem(low), correct_by_problem(high))
        for low, high in zip(base, trained, strict=True)
    ]
    above = paired_difference(pooled(base), pooled(trained))  # each budget has as many samples, so each weighs alike
    return as_json({"above": above}) | {"above_each": _listed(each)}


def beyond_start(
    budgets: Sequence[Budget], start: list[SampleRow], trained: Sequence[list[SampleRow]]
) -> dict[str, Any]:
    """The trained model's accuracy at the largest budget minus that of the start, which is held to none.

    `beyond_habit` also counts the harm that a short budget does to the trained model; here neither is cut short.
    """
    largest = max(place for place, budget in enumerate(budgets) if not budget.waits)
    difference = paired_difference(correct_by_problem(start), correct_by_problem(trained[largest]))
    return as_json({"beyond_start": difference})


def parallel(rows: list[SampleRow]) -> list[dict[str, Any]]:
    """One model's pass@k and maj@k for k = 1, 2, 4, ... up to the samples of a problem, against the tokens of all k."""
    groups = _groups(rows)
    each = zip(_ks(groups), _tokens(rows), _passed(groups), _elected(groups), strict=True)
    return [
        {"k": k, "tokens": tokens} | as_json({"pass": ratio(*pass_rate), "maj": ratio(*majority)})
        for k, tokens, pass_rate, majority in each
    ]


def reliability(rows: list[SampleRow]) -> list[dict[str, Any]]:
    """Cover@tau (arXiv 2510.08325): the share of problems solved in at least a share tau of their samples."""
    rates = [float(np.mean([row["correct"] for row in group])) for group in _groups(rows)]
    points = []
    for tau in TAUS:
        coverage = np.array([rate >= tau for rate in rates], float)
        points.append({"tau": tau} | as_json({"cover": ratio(coverage, np.ones(len(rates)))}))
    return points


def _tokens(rows: list[SampleRow]) -> list[float]:
    """The mean tokens of k samples, for each k."""
    one = float(np.mean([row["thinking_tokens"] + row["answer_tokens"] for row in rows]))
    return [k * one for k in _ks(_groups(rows))]


def crossover(base: list[SampleRow], trained: list[SampleRow], name: str) -> dict[str, Any]:
    """Where the base model's pass@k overtakes the trained model's (Yue et al. 2025), in figures and in words.

    `k` is the first at which the base leads, by a paired interval that is clear of zero; None where there is none.
    """
    groups = _groups(base), _groups(trained)
    ks = _ks(groups[0])
    curves = _passed(groups[0]), _passed(groups[1])
    gaps = [paired_difference(low, high) for low, high in zip(*curves, strict=True)]
    differences = [gap for gap in gaps if gap is not None]
    leads = [k for k, gap in zip(ks, differences, strict=True) if gap.high < 0]
    last = differences[-1]
    sure = "" if last.low > 0 or last.high < 0 else ", which is within the noise"
    at_most = f"at k = {ks[-1]} the difference is {_points(last)}{sure}"
    if leads:
        place = ks.index(leads[0])
        how = f"leads from k = {leads[0]} on" if leads == ks[place:] else f"leads at k = {leads[0]}"
        if any(gap.low > 0 for gap in differences[:place]):
            how = f"overtakes the trained one at k = {leads[0]}"
        words = f"The {name} model {how} ({_points(differences[place])}); {at_most}."
    elif any(gap.low > 0 for gap in differences):
        words = f"The {name} model does not overtake the trained one up to k = {ks[-1]}: {at_most}."
    else:
        words = f"The {name} model and the trained one cannot be told apart up to k = {ks[-1]}: {at_most}."
    return {"k": leads[0] if leads else None, "gaps": _listed(differences), "words": words}


def _listed(estimates: Sequence[Estimate | None]) -> list[dict[str, Any] | None]:
    return [None if estimate is None else asdict(estimate) for estimate in estimates]


def _points(difference: Estimate) -> str:
    low, high = 100 * difference.low, 100 * difference.high
    return f"{100 * difference.value:+.1f} points [{low:+.1f}, {high:+.1f}]"


def _groups(rows: list[SampleRow]) -> list[list[SampleRow]]:
    """The samples of each problem, problems in sorted order."""
    groups: dict[str, list[SampleRow]] = {row["problem"]: [] for row in sorted(rows, key=lambda row: row["problem"])}
    for row in rows:
        groups[row["problem"]].append(row)
    return list(groups.values())


def _ks(groups: list[list[SampleRow]]) -> list[int]:
    most = min(len(group) for group in groups)
    return [2**power for power in range(most.bit_length())]


def _passed(groups: list[list[SampleRow]]) -> list[Sums]:
    """pass@k of each problem, for each k."""
    right = [sum(row["correct"] for row in group) for group in groups]
    return [
        _each([pass_at_k(len(group), count, k) for group, count in zip(groups, right, strict=True)])
        for k in _ks(groups)
    ]


def _elected(groups: list[list[SampleRow]]) -> list[Sums]:
    """maj@k of each problem, for each k."""
    ks = _ks(groups)
    shares = []
    for group in groups:
        votes = [vote(row) for row in group]
        right = {answer for answer, row in zip(votes, group, strict=True) if row["correct"] and answer is not None}
        shares.append(maj_at_k(votes, right, ks))
    return [_each(list(column)) for column in zip(*shares, strict=True)]


def _each(values: list[float]) -> Sums:
    return np.array(values), np.ones(len(values))
