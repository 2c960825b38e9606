"""The verdict table on top of the page: each claim with its figures, their intervals, and where these lie."""

from collections.abc import Iterator
from dataclasses import dataclass

from eval.claims.conditions import SMALLEST
from eval.report.load import Json

WIDTH = 120  # of the small plots, in their own units; claims.html adds a margin for the dots
LEAST = 0.05  # the shortest reach of a small plot either side of its threshold, so that noise does not look large


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure of a claim in words, and its small plot: `low`, `value` and `high` from 0 to WIDTH, threshold midway."""

    says: str
    value: str
    interval: str
    verdict: str  # empty where the figure judges nothing
    places: tuple[float, float, float]


def intervals(claim: Json) -> list[Interval]:
    """The figures of one of `claims.json`'s claims, those that judge first; figures without evidence are left out."""
    figures = [figure for figure in claim["figures"] + claim["beside"] if figure["estimate"]]
    reach = max([LEAST, *(abs(place) for figure in figures for place in _from_threshold(figure))])
    rows = []
    for figure in figures:
        low, value, high = (WIDTH / 2 * (1 + at / reach) for at in _from_threshold(figure))
        judges = figure in claim["figures"]
        says = _says(figure) if judges else figure["says"]
        rows.append(Interval(says, *_written(figure), figure["verdict"] if judges else "", (low, value, high)))
    return rows


def _from_threshold(figure: Json) -> Iterator[float]:
    return (figure["estimate"][key] - figure["threshold"] for key in ("low", "value", "high"))


def _says(figure: Json) -> str:
    if figure["allowance"] is not None:
        allowance, excluded = 100 * figure["allowance"], 100 * SMALLEST
        return f"{figure['says']} (may cost at most {allowance:.0f} points, {excluded:.0f} excluded)"
    return f"{figure['says']} (to lie above {figure['above']:.0%})" if figure["above"] else str(figure["says"])


def _written(figure: Json) -> tuple[str, str]:
    """The value and its interval: a share where its threshold is a share, else a change in points."""
    shape = ".1f" if figure["above"] else "+.1f"
    low, value, high = (
        f"{100 * figure['estimate'][key]:{shape}}".replace("-", "−") for key in ("low", "value", "high")
    )
    return (f"{value}%" if figure["above"] else f"{value} points"), f"[{low}, {high}]"
