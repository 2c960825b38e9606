import pytest
from test_thinking_curve import rows_of

from eval.curves.compute import Compute
from eval.curves.training_curve import Sampled, train_curve


def test_the_curve_holds_every_checkpoint_and_tests_the_rise():
    best = rows_of([1, 1])  # sharpened: at its best decoding the first is as good as the last
    tables = [
        Sampled(name, rows_of(hits), best, 0.3) for name, hits in (("cold", [0, 1]), ("a", [1, 1]), ("b", [1, 1]))
    ]
    compute = [Compute(0, 0, 0, 0.0), Compute(1, 100, 6, 6e5), Compute(2, 250, 15, 1.5e6)]
    found = train_curve(tables, compute)
    assert [point["accuracy"]["value"] for point in found["points"]] == [0.5, 1.0, 1.0]
    assert [(point["tokens"], point["flops"]) for point in found["points"]] == [(0, 0), (100, 6e5), (250, 1.5e6)]
    assert found["difference"]["value"] == 0.5
    assert found["rise"]["value"] == pytest.approx(0.5)  # 0.5, 1, 1: a slope of 1/4, twice
    assert found["changes"]["accuracy"] == found["difference"]
    assert found["best"]["difference"]["value"] == found["best"]["rise"]["value"] == 0
    assert found["points"][0]["best_accuracy"]["value"] == 1 and found["points"][0]["best_temperature"] == 0.3
