"""Traces of models, shared by the tests of plans."""

from collections.abc import Hashable
from typing import Any

import pytest

from train.plan.costs import Costs

_traces: dict[Hashable, dict[Hashable, Any]] = {}


@pytest.fixture
def traced_once(monkeypatch):
    """What one test has traced of a model need not be traced by the next; see `Costs.altered`."""
    begin = Costs.__init__

    def with_traces(self, run, work, **options):
        begin(self, run, work, **options)
        self._traces = _traces.setdefault((run.model, repr(run.scratch), options["gpu"]), {})

    monkeypatch.setattr(Costs, "__init__", with_traces)
