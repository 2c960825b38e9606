import numpy as np
import pytest

from eval.curves.forecast import fit_saturating, forecast

FLOPS = np.array([0, *np.geomspace(1e12, 1e15, 8)])
HALVES = [0.03] * 9


def test_a_log_linear_curve_is_foretold_from_its_first_half():
    rises = [0.3, *(0.2 + 0.05 * np.log10(FLOPS[1:]) - 0.5)]
    found = forecast(FLOPS, rises, HALVES)
    assert found["fitted_on"] == 4 and found["noise"] == pytest.approx(0.03)
    assert found["curves"]["log_linear"]["error"] == pytest.approx(0, abs=1e-9)
    assert found["curves"]["log_linear"]["predicted"] == pytest.approx(rises[5:])
    assert found["curves"]["saturating"]["error"] < 0.05


def test_a_curve_that_saturates_is_foretold_by_the_saturating_fit_alone():
    def curve(c):
        return 0.3 + 0.5 / (1 + (4e12 / c) ** 1.2)

    reached = [0.3, *curve(FLOPS[1:])]
    found = forecast(FLOPS, reached, HALVES)["curves"]
    assert found["saturating"]["error"] < 0.01 < found["log_linear"]["error"]
    assert found["saturating"]["asymptote"] == pytest.approx(0.8, abs=0.02)
    _, parameters = fit_saturating(FLOPS[1:], curve(FLOPS[1:]), 0.3)
    assert parameters["exponent"] == pytest.approx(1.2, rel=0.1)


def test_accuracy_is_never_foretold_beyond_one():
    reached = [0.1, 0.5, 0.7, 0.9, 0.97, 0.98, 0.99, 0.99, 0.99]
    assert max(forecast(FLOPS, reached, HALVES)["curves"]["saturating"]["predicted"]) <= 1


def test_too_few_checkpoints_foretell_nothing():
    assert forecast(FLOPS[:3], [0.1, 0.2, 0.3], HALVES[:3]) is None
    few = forecast(FLOPS[:4], [0.1, 0.2, 0.3, 0.4], HALVES[:4])
    assert set(few["curves"]) == {"log_linear"}
