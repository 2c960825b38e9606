"""`claims.json` as text: for the console, and as a table for a README."""

from collections.abc import Iterator, Mapping
from textwrap import wrap
from typing import Any

from eval.table import WIDTH, beside_best

Figure = Mapping[str, Any]


def render(claims: Mapping[str, Any]) -> str:
    """Every claim with its verdict, and each figure behind it with its interval, to read at 100 columns."""
    lines = [*wrap(headline(claims), WIDTH), "", f"Verdicts hold {claims['scope']}; intervals are 95%."]
    for claim in claims["claims"]:
        lines += ["", *wrap(f"{claim['number']}. {claim['claim']}", WIDTH, subsequent_indent="   ")]
        lines.append(f"   {claim['verdict'].upper()}")
        for figure in claim["figures"] + claim["beside"]:
            if figure["estimate"]:
                beside = "" if figure in claim["figures"] else " (weaker evidence)"
                lines += _wrapped(f"{figure['says']}{beside}: {_shown(figure)}")
        lines += [line for text in _unanswered(claim) for line in _wrapped(text)]
    return "\n".join([*lines, "", *(line for text in claims["words"] for line in wrap(text, WIDTH))])


def headline(claims: Mapping[str, Any]) -> str:
    """What RL changed, each model at its best decoding, and beside it at temperature 1."""
    best, plain = claims["headline"]["best"], claims["headline"]["at_temperature_1"]
    if best is None or plain is None:
        return "What RL changed was not measured yet."
    return (
        f"Each model at its best decoding, RL changed accuracy by {_points(best)} points. At temperature 1 "
        f"it changed by {_points(plain)} points{beside_best(best, plain)}"
    )


def _points(estimate: Figure) -> str:
    low, value, high = (f"{100 * estimate[key]:+.1f}".replace("-", "−") for key in ("low", "value", "high"))
    return f"{value} [{low}, {high}]"


def markdown(claims: Mapping[str, Any], command: str, figure: str) -> str:
    """A paragraph for a README: the figure, the command and seeds that it came from, and a row for each claim."""
    seeds = ("seed " if len(claims["seeds"]) == 1 else "seeds ") + ", ".join(map(str, claims["seeds"]))
    rows = [
        f"| {claim['number']}. {claim['claim']} | {claim['verdict']} | {'; '.join(_figures(claim))} |"
        for claim in claims["claims"]
    ]
    words = ["", " ".join(claims["words"])] if claims["words"] else []
    return "\n".join(
        [
            f"![Accuracy against training tokens, against thinking tokens, and against several samples]({figure})",
            "",
            headline(claims),
            "",
            f"`{command}` ({seeds}); verdicts hold {claims['scope']}:",
            "",
            "| claim | verdict | figures with 95% intervals |",
            "|---|---|---|",
            *rows,
            *words,
            "",
        ]
    )


def _figures(claim: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"{figure['says']} {_shown(figure)}" for figure in claim["figures"] if figure["estimate"])
    yield from _unanswered(claim)


def _unanswered(claim: Mapping[str, Any]) -> Iterator[str]:
    """What there is no evidence for, and what is left open."""
    yield from (f"no evidence: {missing}" for missing in claim["missing"])
    yield from (f"open: {line}" for line in claim["open"])


def _shown(figure: Figure) -> str:
    """A change in points, or a share in percent where its threshold is a share."""
    shape, unit = (".1f", "%") if figure["above"] else ("+.1f", "")
    low, value, high = (
        f"{100 * figure['estimate'][key]:{shape}}".replace("-", "−") for key in ("low", "value", "high")
    )
    return f"{value}{unit} [{low}, {high}]"


def _wrapped(text: str) -> list[str]:
    return wrap(text, WIDTH, initial_indent="   ", subsequent_indent="     ")
