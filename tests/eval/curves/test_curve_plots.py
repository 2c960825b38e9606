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
