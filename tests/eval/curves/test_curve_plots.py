import io

from eval.curves.curve_plots import draw_curve
from eval.curves.forecast import forecast


def curve(accuracies):
    """The evidence of one run, as train-curve.json holds it."""
    flops = [0.0, *(1e12 * 2**place for place in range(len(accuracies) - 1))]
    estimates = [{"value": each, "low": each - 0.02, "high": each + 0.02, "count": 400} for each in accuracies]
    points = [
        {"tokens": at / 1e6, "flops": at, "accuracy": estimate, "best_accuracy": estimate}
        for at, estimate in zip(flops, estimates, strict=True)
    ]
    return {"points": points, "forecast": forecast(flops, accuracies, [0.02] * len(flops))}


def drawn(curves):
    buffer = io.StringIO()
    draw_curve("train-curve", curves).savefig(buffer, format="svg")
    return buffer.getvalue()


def test_forecasts_are_drawn_once_each_in_the_legend():
    rising = curve([0.3, 0.4, 0.45, 0.5, 0.53, 0.55, 0.56])
    figure = draw_curve("train-curve", [rising, rising])
    entries = [text.get_text() for text in figure.axes[1].get_legend().get_texts()]
    assert entries == ["log-linear forecast from the first half", "saturating forecast from the first half"]
    predicted = rising["forecast"]["curves"]["log_linear"]["predicted"]
    assert any(list(line.get_ydata())[1:] == predicted for line in figure.axes[1].lines)


def test_a_run_of_too_few_checkpoints_has_no_forecast_to_draw():
    short = curve([0.3, 0.4])
    assert short["forecast"] is None
    assert "forecast" not in drawn([short])


def thinking(limits):
    """The evidence of one run's thinking, as test-curve.json holds it."""

    def estimate(value):
        return {"value": value, "low": value - 0.02, "high": value + 0.02, "count": 200}

    points = [
        {"limit": limit, "waits": waits, "accuracy": estimate(limit / 100), "thinking_tokens": estimate(limit + waits)}
        for limit, waits in [*((limit, 0) for limit in limits), (90, 1)]
    ]
    parallel = [{"k": k, "tokens": 50.0 * k, "pass": estimate(0.5), "maj": estimate(0.5)} for k in (1, 2)]
    return {
        "stages": {"trained": "c"},
        "sequential": {"trained": {"points": points}},
        "parallel": {"trained": parallel},
    }


def test_runs_are_drawn_together_at_the_budgets_that_all_of_them_have():
    figure = draw_curve("test-curve", [thinking((20, 40, 80)), thinking((20, 33, 40, 80)), thinking((20, 27, 40, 80))])
    means = figure.axes[0].lines[0]
    assert list(means.get_xdata()) == [20, 40, 80, 91] and list(means.get_ydata()) == [0.2, 0.4, 0.8, 0.9]
