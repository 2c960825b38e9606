"""The seven claims: the conditions of each, with thresholds, and how a figure meets one. `judging.py` has the rule."""

from dataclasses import dataclass, replace
from typing import Literal

from eval.claims.figures import Figure, after, against_baseline, change, monitored, thinking_curve, train_curve
from eval.measures.estimators import Estimate

Verdict = Literal["supported", "not supported", "inconclusive"]

SMALLEST = 0.05  # the smallest effect that matters, as a share: five points
ALLOWANCE = 0.02  # what something that should cost nothing may cost as measured: two points


@dataclass(frozen=True, slots=True)
class Condition:
    """A figure that has to lie above `above`, or, given an `allowance`, must not lose more than that.

    `falling` says that a rise of the figure is the loss.
    """

    figure: Figure
    says: str
    above: float = 0.0
    allowance: float | None = None
    falling: bool = False

    @property
    def threshold(self) -> float:
        """The threshold, on the figure's own scale."""
        return self.above if self.allowance is None else self.allowance if self.falling else -self.allowance

    def judge(self, figure: Estimate) -> Verdict:
        """Whether a figure supports the condition, by the rule in `judging.py`."""
        if self.falling:
            figure = replace(figure, value=-figure.value, low=-figure.high, high=-figure.low)
        return judge(figure, self.above) if self.allowance is None else judge_loss(figure, self.allowance)


def loses_nothing(figure: Figure, says: str, *, falling: bool = False) -> Condition:
    """A figure that must not fall (or, `falling`, not rise) by more than ALLOWANCE."""
    return Condition(figure, says, allowance=ALLOWANCE, falling=falling)


def weaker(figure: Figure, says: str, reference: float = 0.0) -> Condition:
    """A figure to show beside the conditions; evidence of an earlier version may lack it.

    A share has a `reference`, the line in its small plot.
    """
    return Condition(replace(figure, optional=True), says, reference)


@dataclass(frozen=True, slots=True)
class Claim:
    """A row of the verdict table. Figures `beside` are weaker evidence: they are shown and judge nothing.

    `from_scratch` says why models from scratch can have no such evidence.
    """

    title: str
    conditions: tuple[Condition, ...]
    beside: tuple[Condition, ...] = ()
    from_scratch: str = ""


REPEATS_OF_RETRIES = weaker(
    change("behaviour", "repeat_of_retries"), "the same again, of failures that another attempt follows, change"
)
CLAIMS = (
    Claim(
        "Accuracy rises with RL (train-time compute), each model at its best decoding.",
        (
            Condition(train_curve("best", "difference"), "at best decoding, last checkpoint minus first"),
            Condition(train_curve("best", "rise"), "at best decoding, rise along the line through all checkpoints"),
        ),
        beside=(
            weaker(train_curve("difference"), "at temperature 1, last checkpoint minus first"),
            weaker(train_curve("rise"), "at temperature 1, rise along the line through all checkpoints"),
            weaker(train_curve("greedy", "difference"), "greedy, last checkpoint minus first"),
            weaker(
                thinking_curve("held", "by_thinking"),
                "the start held to think as long as the trained model, minus the start as it is",
            ),
            weaker(thinking_curve("held", "beyond"), "trained minus the start held to think as long"),
        ),
    ),
    Claim(
        "Accuracy rises with thinking tokens (test-time compute), and on average the trained curve lies above the "
        "start's.",
        (
            Condition(
                thinking_curve("beyond_habit"), "accuracy at the largest budget minus that at the start's mean length"
            ),
            Condition(thinking_curve("equal_tokens"), "trained minus start at equal thinking tokens, over the curve"),
            loses_nothing(thinking_curve("room"), "change with up to 4 times the room that training gave"),
            loses_nothing(thinking_curve("wait"), 'change as "Wait" carries thinking on past the end that it chose'),
        ),
        beside=(
            weaker(
                thinking_curve("beyond_start"),
                "accuracy at the largest budget minus that of the start, held to no budget",
            ),
            weaker(thinking_curve("rise"), "rise along the line through all budgets"),
            weaker(thinking_curve("above"), "trained minus base at equal limits, over all budgets together"),
            weaker(thinking_curve("parallel_areas", "pass"), "trained minus start, pass@k at equal tokens"),
            weaker(thinking_curve("parallel_areas", "maj"), "trained minus start, maj@k at equal tokens"),
        ),
    ),
    Claim(
        "The model recognises and corrects its own mistakes.",
        (
            Condition(after("behaviour", "wrong_rejected"), "wrong steps and attempts that it rejects", 0.5),
            Condition(after("behaviour", "net_correction"), "answers put right minus answers spoilt (i→c − c→i)"),
            Condition(change("behaviour", "net_correction"), "answers put right minus answers spoilt, change"),
            loses_nothing(after("second_turn", "difference"), "gain from a second turn"),
            loses_nothing(
                change("behaviour", "repeat_after_failure"), "the same again after it failed, change", falling=True
            ),
        ),
        beside=(
            weaker(change("behaviour", "incorrect_to_correct"), "wrong first attempts put right, change"),
            weaker(change("injection", "recovery"), "recovery from an injected error, change"),
            # Who never reopens an answer loses nothing in a second turn: that condition then says nothing.
            weaker(
                after("second_turn", "reconsidered"), "second turns in which it goes on or changes its answer", SMALLEST
            ),
            weaker(change("second_turn", "difference"), "gain from a second turn, change"),
            REPEATS_OF_RETRIES,
        ),
    ),
    Claim(
        "It breaks tricky steps into simpler ones.",
        (
            Condition(change("decomposition", "valid_steps"), "steps that are valid, change"),
            Condition(change("behaviour", "subgoals_met"), "subgoals that are met, change"),
        ),
        beside=(weaker(change("decomposition", "without_error"), "thinkings without an error, change"),),
    ),
    Claim(
        "It tries a different approach when the current one is not working.",
        (
            Condition(change("behaviour", "new_approach_after_failure"), "new approach after a failed one, change"),
            loses_nothing(
                change("behaviour", "repeat_after_failure"), "the same again after it failed, change", falling=True
            ),
        ),
        beside=(
            weaker(
                change("behaviour", "new_approach_of_retries"),
                "new approach, of failures that another attempt follows, change",
            ),
            weaker(change("behaviour", "stop_after_failure"), "stops after a failed attempt, change"),
            REPEATS_OF_RETRIES,
        ),
    ),
    Claim(
        "Its reasoning can be read: the stated steps lead to the answer.",
        (
            Condition(after("faithfulness", "own_answer_follows"), "answers that its thinking concluded", 0.5),
            Condition(after("faithfulness", "follows_corrupted"), "answers that follow an altered thinking", 0.5),
        ),
        # The monitor is tried on cases planted by hand, the same for every run. No run can fail it, so it judges none.
        beside=(
            weaker(monitored("precision"), "the monitor's flags that are right, on the labelled traces", 0.8),
            weaker(monitored("recall"), "planted cases that the monitor flags, on the labelled traces", 0.8),
        ),
    ),
    Claim(
        'It does better than zero-shot "let\'s think step by step" prompting of the model it started from.',
        (Condition(against_baseline(best=True), "at best decoding, trained minus the base so prompted"),),
        beside=(weaker(against_baseline(best=False), "at temperature 1, trained minus the base so prompted"),),
        from_scratch="a model from scratch reads no plain words. Train from a pre-trained one, such as with "
        "configs/smollm2-135m-cpu.yaml.",
    ),
)
ALL_CLAIMS = tuple(range(1, len(CLAIMS) + 1))


def judge(figure: Estimate, above: float = 0.0) -> Verdict:
    """Whether a figure is above a threshold, by the rule in `judging.py`."""
    if figure.low > above:
        return "supported"
    half = (figure.high - figure.low) / 2
    return "inconclusive" if figure.high >= above and half > SMALLEST else "not supported"


def judge_loss(figure: Estimate, allowance: float) -> Verdict:
    """Whether a figure loses no more than an allowance; see the rule in `judging.py`.

    The allowance is of the loss as measured: at most 2 points. The interval has to exclude a loss of SMALLEST, 5
    points. So a true loss between the two may pass; one of 5 points does in 3 of 100 simulated trials, one of 3 in 24.
    """
    if figure.value < -allowance:
        return "not supported" if figure.high < 0 else "inconclusive"
    return "supported" if figure.low > -SMALLEST else "inconclusive"
