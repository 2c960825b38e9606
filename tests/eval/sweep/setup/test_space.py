"""The settings that a sweep tries."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.sweep.setup.space import corners, grid, read_space, show, size


def test_a_grid_is_every_combination_the_last_field_changing_fastest():
    space = read_space({"a": [1, 2], "b": {"low": 1e-4, "high": 1e-2, "log": True, "points": 3}})
    assert [tuple(params.values()) for params in grid(space)] == [
        *((1, 1e-4), (1, 1e-3), (1, 1e-2)),
        *((2, 1e-4), (2, 1e-3), (2, 1e-2)),
    ]


@pytest.mark.parametrize(
    ("given_range", "values"),
    [
        ({"low": 1, "high": 4}, [1, 2, 3, 4]),
        ({"low": 0, "high": 10, "step": 4}, [0, 4, 8]),
        ({"low": 0.05, "high": 0.35, "step": 0.1}, [0.05, 0.15, 0.25, 0.35]),
        ({"low": 1, "high": 64, "log": True, "points": 4}, [1, 4, 16, 64]),
        ({"low": 0.0, "high": 1.0, "points": 3}, [0.0, 0.5, 1.0]),
        ({"low": 0.0, "high": 3e-13, "step": 1e-13}, [0.0, 1e-13, 2e-13, 3e-13]),
        ({"low": -0.3, "high": 0.1, "step": 0.1}, [-0.3, -0.2, -0.1, 0.0, 0.1]),
    ],
)
def test_a_range_gives_a_grid_its_values(given_range, values):
    (dimension,) = read_space({"x": given_range})
    assert dimension.grid == values
    assert dimension.whole == all(isinstance(value, int) for value in values)


@pytest.mark.parametrize("step", [1e-300, 5e-324])
def test_a_step_that_makes_too_many_values_is_refused(step):
    with pytest.raises(ValueError, match=r"search\.x\.step is .*which makes more than"):
        read_space({"x": {"low": 0.0, "high": 1.0, "step": step}})


def test_points_that_are_equal_are_refused():
    (dimension,) = read_space({"x": {"low": 1.0, "high": 1.0000001, "points": 5}})
    with pytest.raises(ValueError, match=r"search\.x goes from 1.0 to 1.0000001, where 5 points are not all different"):
        list(dimension.grid)


def test_a_range_of_any_numbers_needs_points_in_a_grid():
    with pytest.raises(ValueError, match=r"search\.x is a range, and a grid tries some values: give `points`"):
        list(grid(read_space({"x": {"low": 0.0, "high": 1.0}})))


def test_choices_of_mappings_are_kept_as_json_and_given_back_as_they_were():
    choices = [{"hidden_size": 64}, {"hidden_size": 128}, None]
    (dimension,) = read_space({"scratch": choices})
    assert all(isinstance(stored, str | None) for stored in dimension.grid)
    assert [dimension.value(stored) for stored in dimension.grid] == choices


def test_the_corners_hold_every_choice_and_both_ends_of_every_range():
    space = read_space({"a": [1, 2, 3], "b": {"low": 0.0, "high": 1.0}})
    found = list(corners(space))
    assert {params["a"] for params in found} == {1, 2, 3} and {params["b"] for params in found} == {0.0, 1.0}


@given(st.integers(-5, 5), st.integers(1, 20), st.integers(1, 7))
def test_the_size_is_the_number_of_different_settings(low, width, step):
    space = read_space({"x": {"low": low, "high": low + width, "step": step}, "y": [True, False]})
    assert len({tuple(params.values()) for params in grid(space)}) == size(space)


def test_a_range_of_any_numbers_has_no_end_of_settings():
    assert size(read_space({"x": {"low": 0.0, "high": 1.0}, "y": [1]})) == math.inf


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ({}, "expected fields with their choices"),
        (None, "expected fields with their choices"),
        ({"x": []}, "expected different choices"),
        ({"x": [1, 1]}, "expected different choices"),
        ({"x": 3}, "expected a list of choices, or a range"),
        ({"x": {"low": 1}}, "expected a list of choices, or a range"),
        ({"x": {"low": 2, "high": 1}}, "goes from 2 to 1; expected low < high"),
        ({"x": {"low": 0, "high": 1, "log": True}}, "0 < low < high, since it is on a log scale"),
        ({"x": {"low": "a", "high": 1}}, "search.x.low is 'a'; expected a number"),
        ({"x": {"low": 0, "high": float("nan")}}, "expected a number"),
        ({"x": {"low": 0, "high": 1, "steps": 1}}, "has an unknown steps; a range has: low, high, log, step, points"),
        ({"x": {"low": 1, "high": 2, "log": True, "step": 1}}, "no log scale beside it"),
        ({"x": {"low": 1, "high": 2, "step": -1}}, "expected a number above 0"),
        ({"x": {"low": 1, "high": 2, "points": 1}}, "a whole number, 2 to 2,000"),
        ({"x": {"low": 1, "high": 2, "log": "yes"}}, "expected true or false"),
    ],
)
def test_what_is_no_space_is_refused_by_name(search, message):
    with pytest.raises(ValueError) as caught:
        read_space(search)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_numbers_that_yaml_reads_as_text_are_numbers():
    (dimension,) = read_space({"x": {"low": "1e-4", "high": "1e-2", "log": True}})  # YAML wants 1.0e-4
    assert (dimension.low, dimension.high) == (1e-4, 1e-2)


def test_a_setting_is_said_in_words():
    assert show({"learning_rate": 0.000312345, "n": 8, "loss": "dapo"}) == "learning_rate 0.0003123, n 8, loss dapo"
