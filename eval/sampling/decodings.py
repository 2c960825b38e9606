"""A model at every temperature of a grid. The best is chosen on validation problems and reported on test problems.

A model can be made to look better at one temperature by sharpening it, which training does as a matter of course. So
two models are compared each at its own best: what is then left of a difference is not a temperature. Choosing and
reporting on different problems keeps the choice from flattering anyone.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from eval.measures.estimators import Estimate, Sums, paired_difference, ratio
from eval.measures.rows import SampleRow
from eval.measures.sample_measures import correct_by_problem

Rows = list[SampleRow]


@dataclass(frozen=True, slots=True)
class Decodings:
    """The samples of one checkpoint by temperature: of the problems reported on, and of those the best is chosen on.

    `choices` is empty where there was nothing to choose from.
    """

    rows: Mapping[float, Rows]
    choices: Mapping[float, Rows]
    best: float

    @property
    def best_rows(self) -> Rows:
        """The samples at the best temperature; greedy ones are no longer marked as such, since there are no others."""
        return unmarked(self.rows[self.best])

    @property
    def fall(self) -> Estimate | None:
        """How far accuracy falls by the hottest temperature of the grid (`fall_at_hottest`)."""
        rows, choices = (
            {temperature: correct_by_problem(unmarked(of)) for temperature, of in table.items()}
            for table in (self.rows, self.choices)
        )
        return fall_at_hottest(rows, choices)


def best_temperature(choices: Mapping[float, Rows]) -> float:
    """The temperature of the highest accuracy; of equals the lowest."""
    return max(sorted(choices), key=lambda temperature: accuracy(choices[temperature]).value)


def fall_at_hottest(rows: Mapping[float, Sums], choices: Mapping[float, Sums]) -> Estimate | None:
    """Accuracy at the best of the colder temperatures minus that at the hottest; None where there are no colder ones.

    The colder one is chosen on `choices`, and the difference is of `rows`. Accuracy is taken to rise and then to fall
    as the temperature grows. So where the fall is clear of zero, no hotter temperature can be the best; where it is
    not, one may be.
    """
    hottest = max(choices, default=0.0)
    colder = sorted(choices.keys() - {hottest})
    if not colder:
        return None
    best = max(colder, key=lambda temperature: choices[temperature][0].sum() / choices[temperature][1].sum())
    return paired_difference(rows[hottest], rows[best])


def accuracy(rows: Rows) -> Estimate:
    """Accuracy at one temperature, greedy or not."""
    estimate = ratio(*correct_by_problem(unmarked(rows)))
    assert estimate is not None
    return estimate


def unmarked(rows: Rows) -> Rows:
    """The rows with none marked as greedy, since measures count greedy samples apart."""
    return [{**row, "greedy": False} for row in rows]
