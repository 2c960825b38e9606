"""The page of a sweep: what it says, that it loads nothing, and what a real browser makes of it."""

import re
import subprocess
from dataclasses import replace

import pytest
import stub_train
from patience import PATIENCE
from stubbed import BASE, do, in_process, spec

from eval.measures import estimators
from eval.sweep.page.sweep_page import write_page
from eval.sweep.setup.spec import Prune
from eval.sweep.trials import work
from tests.eval.report.test_explorer import CHROMIUM, OPTIONS, in_browser

ATTACK = '</pre><img src=x onerror="document.title=1">'


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A sweep with two trials that cannot be told apart, a worse one, one that crashes, and one that is pruned."""

    def trouble(config, run, step):
        if config["learning_rate"] == 1.0005e-3 and step == 3:
            raise RuntimeError(ATTACK)
        return 0

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(work, "launch", in_process)
        patched.setattr(work, "IDLE", 0.01)
        patched.setattr(estimators, "RESAMPLES", 50)
        patched.setattr(stub_train, "trouble", trouble)
        search = {"learning_rate": [1e-3, 1.001e-3, 1e-4, 1.0005e-3, 1e-7], "tasks.countdown.slip": [0.1]}
        base = BASE | {"tasks": {"countdown": {}}}
        return do(tmp_path_factory.mktemp("sweep"), spec(search=search, base=base, prune=Prune(after=3), at_once=1))


@pytest.fixture(scope="module")
def page(results):
    return (results.folder / "report.html").read_text()


def test_the_page_says_who_is_first_and_warns_that_the_lead_is_within_noise(page):
    assert "Trial 0 is first: accuracy 83.1%" in page
    assert re.search(r'<p class="remark warning">The first is within noise of trial 1: ', page)
    assert page.count('<span class="noise">within noise</span>') == 1
    assert page.count('<span class="clear">clear of zero</span>') == 1


def test_each_seed_stands_by_itself(page):
    assert "<title>seed 0: 83.8%</title>" in page and "<title>seed 1: 82.5%</title>" in page


def test_what_is_not_ranked_stands_there_with_its_reason(page):
    listed = page[page.index("<h2>Not ranked</h2>") :]
    assert re.search(r'data-trial="4".*pruned at step 2</td>', listed)
    assert re.search(r'data-trial="3".*failed: exit code 1 \(seed 0\)</td>', listed)
    went_wrong = page[page.index("<h2>What went wrong") :]
    assert went_wrong.count("<summary>trial 3, seed 0: failed: exit code 1") == 2  # once more, as told


def test_what_a_run_says_is_text(page):
    assert "<img" not in page and "&lt;img src=x" in page


def test_the_page_loads_nothing_from_elsewhere(page):
    assert not re.findall(r'(?:src|href)="(?!#)', page.replace("&lt;img src", ""))
    assert "url(" not in page.replace("url(#", "")


def test_the_plots_lie_beside_the_page(results):
    made = {path.name for path in (results.folder / "report").iterdir()}
    names = ("curves", "parallel", "slice-0", "slice-1")
    assert made == {f"{name}.{kind}" for name in names for kind in ("png", "svg")}


def test_every_trial_has_its_line_in_the_curves(page):
    assert {f'id="curves-trial-{number}-line"' in page for number in range(5)} == {True}


def test_a_sweep_without_a_result_has_a_page(results, tmp_path):
    (tmp_path / "sweep.yaml").write_text("")
    write_page(replace(results, folder=tmp_path, ranked=(), over=False))
    page = (tmp_path / "report.html").read_text()
    assert "No trial is complete" in page and "The sweep is not over" in page


def browse(page, act, folder):
    """What `act`, an expression, gives in a real browser that shows the page in 375 pixels, as a phone does."""
    text = re.sub(r"<meta http-equiv[^>]*>", "", page)
    wrapper = folder / "wrapper.html"
    (folder / "inner.html").write_text(text)
    quoted = text.replace("&", "&amp;").replace('"', "&quot;")
    wrapper.write_text(
        f'<body><iframe width="375" height="800" srcdoc="{quoted}"></iframe><script>onload = () => {{'
        f"const page = frames[0].document; document.body.dataset.found = String({act}); }};</script></body>"
    )
    command = [str(CHROMIUM), *OPTIONS, f"--user-data-dir={folder / 'browser'}", wrapper.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
    return re.search(r'data-found="([^"]*)"', done.stdout)[1]


@in_browser
def test_a_phone_shows_it_without_scrolling_sideways(page, tmp_path):
    beyond = "page.documentElement.scrollWidth - page.documentElement.clientWidth"
    assert browse(page, beyond, tmp_path) == "0"


@in_browser
def test_a_touch_lights_a_trial_up_everywhere(page, tmp_path):
    touched = """(page.querySelector('tr[data-trial="1"]').click(),
        [...page.querySelectorAll(".lit")].map((lit) => lit.id || "row " + lit.dataset.trial).join(" "))"""
    assert browse(page, touched, tmp_path) == "row 1 curves-trial-1-line parallel-trial-1-line"


@in_browser
def test_a_touch_on_a_line_lights_up_its_row(page, tmp_path):
    touch = 'dispatchEvent(new MouseEvent("click", {bubbles: true}))'
    touched = f"""(page.querySelector("#curves-trial-2-hit path").{touch},
        page.querySelector("tr.lit").dataset.trial)"""
    assert browse(page, touched, tmp_path) == "2"
