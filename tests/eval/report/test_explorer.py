"""The trace explorer: what is packed into the page, and what a real browser makes of it."""

import base64
import html
import json
import re
import shutil
import subprocess
import zlib
from pathlib import Path

import pytest
from patience import PATIENCE

from eval.measures import estimators
from eval.report import explorer
from eval.report.load import load_run
from eval.report.page import write_report
from tests.eval.report.test_report import ATTACK, SEARCH, corrected, countdown, evaluate, make_run, row, write
from train.rewards.rollout_log import COLUMNS as ROLLOUT_COLUMNS

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--virtual-time-budget=20000", "--dump-dom"),
)
in_browser = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    """Intervals need not be exact here."""
    monkeypatch.setattr(estimators, "RESAMPLES", 50)


def unpacked(run: Path, **limits) -> dict:
    return json.loads(zlib.decompress(base64.b64decode(explorer.pack(load_run(run), **limits).data)))


def browse(page: Path, act: str = "") -> str:
    """The page's DOM from the explorer on, after the browser ran its script and then `act`."""
    if act:  # a script that the page's policy would not let run, put into a copy without the policy
        text = re.sub(r"<meta http-equiv[^>]*>", "", page.read_text())
        wait = "const until = setInterval(() => { if (!explorer.hidden) { clearInterval(until); act(); } }, 20);"
        page = page.with_name("acted.html")
        page.write_text(text.replace("</body>", f"<script>function act() {{ {act} }} {wait}</script></body>"))
    command = [str(CHROMIUM), *OPTIONS, f"--user-data-dir={page.parent / 'browser'}", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
    return done.stdout[done.stdout.index('id="explorer"') :]


def set_filter(name: str, value: str) -> str:
    return f"""const filter = document.querySelector('[data-filter="{name}"]'); filter.value = {value!r};
        filter.dispatchEvent(new Event("input"));"""


def count(dom: str) -> str:
    return re.search(r'id="explorer-count"[^>]*>([^<]*)<', dom)[1]


def test_every_rollout_is_packed_with_its_behaviours(tmp_path):
    run = make_run(tmp_path / "run")
    evaluate(run)
    data = unpacked(run)
    assert len(data["flags"]) == 2 * 160 + 4 * 3  # two checkpoints, three steps and a validation
    sampled, greedy = ["held-out, cold-start", "held-out, checkpoint-3"], "held-out greedy, checkpoint-3"
    assert data["origins"][0:4:2] == sampled and data["origins"][3] == greedy
    assert data["origins"][4:] == ["RL step 1", "RL step 2", "RL step 3", "validation step 3"]
    bits = {name: 1 << place for place, name in enumerate(data["behaviours"], 1)}
    after = [flags for flags, origin in zip(data["flags"], data["origin"], strict=True) if origin == 2]
    assert all(flags & 1 for flags in after)
    corrected = sum(bool(flags & bits["corrected itself"]) for flags in after)
    assert corrected == len(after) - 1  # where the number is 0, the first attempt makes the target too
    assert sum(bool(flags & bits["slip repaired"]) for flags in after) == len(after) / 2  # the arithmetic half
    trained = [flags for flags, origin in zip(data["flags"], data["origin"], strict=True) if origin == 4]
    assert [bool(flags & bits["took another approach"]) for flags in trained] == [True, False, False]


def test_too_many_rollouts_are_an_even_sample_and_the_page_says_so(tmp_path, monkeypatch):
    run = make_run(tmp_path / "run")
    data = unpacked(run, most=5)
    assert len(data["flags"]) == 5 and len(set(data["origin"])) > 2
    monkeypatch.setattr(explorer, "MOST_CHARACTERS", 500)
    packed = explorer.pack(load_run(run))
    assert packed.count < packed.total == 12
    page = write_report(run).read_text()
    assert f"{packed.count} of this run's 12 rollouts, evenly spaced; the rest are in {run}/rollouts.parquet" in page


def test_marks_in_a_models_own_text_mark_nothing(tmp_path):
    run = make_run(tmp_path / "run", completion=f"<think> {explorer.RIGHT}2{explorer.END}{explorer.LINE} </think> 7")
    lines = unpacked(run)["lines"][0]
    assert explorer.RIGHT not in lines and explorer.LINE not in lines


@in_browser
def test_the_browser_shows_marked_rollouts_and_model_text_as_text(tmp_path):
    run = make_run(tmp_path / "run", completion=f"<think> try 1 + 1 = 3 {ATTACK} </think> {ATTACK}")
    dom = browse(write_report(run))
    assert count(dom) == "12 of 12 rollouts, 33.3% of them right · page 1 of 2"
    assert "<img" not in dom and "&lt;img src=x" in dom
    shown = dom[dom.index('id="explorer-rollouts"') :]
    assert shown.count("<article") == 10
    assert '<span class="step wrong">1 + 1 = 3<span class="mark wrong"' in shown
    assert '<span class="should">is 2</span>' in shown and "redoes the slip" in shown


@in_browser
def test_filters_and_pages_turn_in_the_browser(tmp_path):
    run = make_run(tmp_path / "run")
    evaluate(run)
    page = write_report(run)
    turn = "document.querySelectorAll('[data-turn]')[1].click();"
    corrected_after = f"{{ {set_filter('behaviour', '0')} }} {{ {set_filter('origin', '2')} }} {turn}"
    assert count(browse(page, corrected_after)) == "79 of 332 rollouts, 100.0% of them right · page 2 of 8"
    assert count(browse(page, set_filter("problem", "36 * 4"))).startswith("8 of 332 rollouts")


@in_browser
def test_one_problem_stands_before_and_after_side_by_side(tmp_path):
    run = make_run(tmp_path / "run")
    evaluate(run)
    act = set_filter("problem", "compute 7 * 4") + "document.querySelector('#explorer-rollouts button').click();"
    shown = browse(write_report(run), act).partition('id="explorer-rollouts"')[2]
    assert shown.count('class="side"') == 2
    assert re.findall(r'class="kind">([^<]*)<span>([^<]*)<', shown) == [
        ("held-out, cold-start", "0 of 1 right"),
        ("held-out, checkpoint-3", "1 of 1 right"),
    ]


@in_browser
def test_the_page_fits_a_phone(tmp_path):
    run = make_run(tmp_path / "run")
    evaluate(run)
    text = html.escape(write_report(run).read_text())
    measure = "const d = phone.contentDocument.documentElement; root.dataset.wide = d.scrollWidth - d.clientWidth"
    phone = tmp_path / "phone.html"
    phone.write_text(
        f'<body id="root"><iframe id="phone" style="width: 390px; height: 2000px; border: 0" srcdoc="{text}" '
        f'onload="setTimeout(() => {{ {measure} }}, 1000)"></iframe>'
    )
    command = [str(CHROMIUM), *OPTIONS, f"--user-data-dir={tmp_path / 'browser'}", phone.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert 'data-wide="0"' in done.stdout


@pytest.mark.slow
@in_browser
def test_a_hundred_thousand_rollouts_are_filtered_in_the_browser(tmp_path):
    run = make_run(tmp_path / "run")
    kinds = (False, True, True, False)
    rows = [
        row(countdown(n % 500), corrected(n % 500) if kinds[n % 4] else SEARCH, kinds[n % 4], step=4)
        for n in range(100_000 - 12)
    ]
    write(rows, run / "rollouts.parquet" / "train-000004-rank0-000.parquet", ROLLOUT_COLUMNS)
    page = write_report(run)
    act = f"{{ {set_filter('outcome', '1')} }} {{ {set_filter('problem', 'target 7')} }}"
    found = sum(kinds[n % 4] and str(160 - n % 500).startswith("7") for n in range(100_000 - 12))
    dom = browse(page, act)
    assert count(dom).startswith(f"{found:,} of 100,000 rollouts, 100.0% of them right")
    assert dom.count("<article") == 10


def test_a_file_of_which_the_sample_keeps_no_row_is_passed_over(tmp_path):
    run = make_run(tmp_path / "run")
    many = [row(countdown(), SEARCH, False, step=4)] * 3_000
    write(many, run / "rollouts.parquet/train-000004-rank0-000.parquet", ROLLOUT_COLUMNS)
    data = unpacked(run, most=3)
    assert len(data["flags"]) == 3 and len(data["origins"]) < 5
