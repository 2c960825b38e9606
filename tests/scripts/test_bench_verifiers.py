"""The benchmark of the verifiers."""

from scripts import bench_verifiers


def test_the_files_that_it_measures_on_by_default_are_there():
    assert all(path.is_file() for path in (*bench_verifiers.PAIRS, bench_verifiers.FUNCTIONS))
