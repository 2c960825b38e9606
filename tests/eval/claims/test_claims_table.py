import pytest

from eval.claims.claims_table import headline


@pytest.mark.parametrize(
    ("best", "plain", "end"),
    [
        (0.62, 0.417, "At temperature 1 it changed by +41.7 [+40.7, +42.7] points, not more than at best decoding."),
        (0.03, 0.25, "it changed by +25.0 [+24.0, +26.0] points; the excess is an effect of temperature."),
        (-0.05, -0.1, "it changed by −10.0 [−11.0, −9.0] points, not more than at best decoding."),
    ],
)
def test_only_what_temperature_1_gains_beyond_the_best_decoding_is_called_an_effect_of_temperature(best, plain, end):
    best, plain = ({"value": at, "low": at - 0.01, "high": at + 0.01} for at in (best, plain))
    assert headline({"headline": {"best": best, "at_temperature_1": plain}}).endswith(end)
