"""The report's tests draw no pictures, but for those that look at them: each takes longer than the page around it."""

import pytest

from eval.report.plots import Plot


@pytest.fixture
def pictures() -> None:
    """For a test that looks at the plots' files."""


@pytest.fixture(autouse=True)
def no_pictures(request, monkeypatch):
    if "pictures" not in request.fixturenames:
        monkeypatch.setattr(Plot, "save", lambda *_: None)
