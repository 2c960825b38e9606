"""The report page, on a run folder written by hand."""

import base64
import hashlib
import json
import re
import runpy
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from data.problem import Problem
from eval.claims.controls import NO_CONTROL
from eval.claims.judging import judge_claims
from eval.evaluate import Settings, summarise
from eval.measures import estimators
from eval.probes.probing import STAGES
from eval.report import explorer
from eval.report.load import load_run
from eval.report.page import write_live_report, write_report
from eval.report.verdicts import WIDTH, intervals
from eval.sampling.decodings import Decodings
from eval.sampling.samples import COLUMNS as SAMPLE_COLUMNS
from eval.sampling.samples import NOT_WORDED
from train.page.marks import read
from train.rewards.rollout_log import COLUMNS as ROLLOUT_COLUMNS

ATTACK = "</script><img src=x onerror=alert(1)>"
SCRIPT = Path(__file__).parents[3] / "scripts" / "report.py"


def countdown(number: int = 6) -> Problem:
    facts = {"numbers": [8, 20, number], "target": 160 - number}
    shown = f"8 20 {number} target {160 - number}"
    return Problem("countdown", f"numbers {shown}", f"countdown {shown}", facts)


def arithmetic(left: int = 36) -> Problem:
    facts = {"expression": f"{left} * 4", "target": left * 4}
    return Problem("arithmetic", f"compute {left} * 4", f"arithmetic 4 {left} = {left * 4}", facts)


def corrected(number: int = 6) -> str:
    """A search whose second attempt is right."""
    return (
        f"<think> try 8 * 20 = 160 , 160 + {number} = {160 + number} vs {160 - number} no "
        f"or 160 - {number} = {160 - number} vs {160 - number} yes</think> 8 * 20 - {number}"
    )


def redone(left: int) -> str:
    """A calculation whose slip is noticed and put right."""
    return f"<think> {left} * 4 = {left * 4 + 1} no {left} * 4 = {left * 4} yes</think> {left * 4}"


SEARCH = "<think> try 6 * 8 = 48 , 48 + 20 = 68 vs 154 no try 20 / 2 = 10 , 8 + 10 = 18 vs 154 yes</think> 20 / 2 + 8"
REDONE = "<think> for 36 * 4 : 6 * 4 = 24 yes 3 * 4 = 13 no 3 * 4 = 12 yes 12 + 2 = 14 yes so 144</think> 144"
SLIPPED = "<think> for 36 * 4 : 6 * 4 = 24 yes 3 * 4 = 11 yes 11 + 2 = 13 yes so 134</think> 134"


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    """Intervals need not be exact here."""
    monkeypatch.setattr(estimators, "RESAMPLES", 200)


def row(problem: Problem, completion: str, correct: bool, **changes) -> dict:
    """A row with every column of both tables; each takes its own."""
    columns = {
        "step": 1, "split": "train", "task": problem.task, "problem": problem.to_json(), "prompt": problem.prompt,
        "completion": completion, "completion_ids": [1, 2], "reward": float(correct), "correct": correct,
        "format": True, "reason": "correct" if correct else "makes 18, not 154", "error": None, "truncated": False,
        "thinking_tokens": 21, "checkpoint": "c", "sample": 0, "greedy": False, "answer": "14", "answer_tokens": 3,
        "left_out": False, "attempts": 2, "first_correct": False, "right_attempt": correct,
        "steps": 4, "right_steps": 3, "slips": 1, "repairs": int(correct), "subgoals": 1, **NOT_WORDED,
    }  # fmt: skip
    return columns | changes


def write(rows: list[dict], path: Path, schema: pa.Schema) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist([{name: r[name] for name in schema.names} for r in rows], schema=schema), path)


def make_run(folder: Path, tasks: tuple[str, ...] = ("countdown", "arithmetic"), completion: str = SEARCH) -> Path:
    """A run of three RL steps, validated after the third."""
    config = {
        "name": "tiny",
        "model": "scratch",
        "tasks": {task: {} for task in tasks},
        "cold_start_steps": 5,
        "max_steps": 3,
    }
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "environment.json").write_text(json.dumps({"seed": 7, "started": "2026-03-04T05:06:07+00:00"}))
    metrics = [{"phase": "cold-start", "step": 5, "loss": 1.0}]
    for step in (1, 2, 3):
        rows = [
            row(countdown(), completion, False, step=step),
            row(arithmetic(), REDONE, True, step=step),
            row(arithmetic(47), SLIPPED, False, step=step),
        ]
        rows = [r for r in rows if r["task"] in tasks]
        write(rows, folder / f"rollouts.parquet/train-{step:06d}-rank0-000.parquet", ROLLOUT_COLUMNS)
        if step == 3:
            asked = [r | {"split": "validation"} for r in rows]
            write(asked, folder / f"rollouts.parquet/validation-{step:06d}-rank0-000.parquet", ROLLOUT_COLUMNS)
        figures = {
            "reward": 0.1 * step,
            "num_tokens": 1e3 * step,
            "step_time": 2.0,
            "entropy": 0.4,
            "frac_reward_zero_std": 0.5,
        }
        metrics.append({"phase": "rl", "step": step, **figures})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in metrics))
    return folder


def evaluate(run: Path, checkpoints: int = 2) -> dict:
    """Results as scripts/evaluate.py writes them: 40 problems a task, one in five right before, all after."""
    tables = []
    for number in range(checkpoints):
        rows = []
        for n in range(40):
            right = number == 1 or n % 5 == 0
            for greedy in (False, True):
                changes = {"greedy": greedy, "sample": int(greedy)}
                rows.append(row(countdown(n), corrected(n) if right else SEARCH, right, **changes))
                rows.append(row(arithmetic(n), redone(n) if right else SLIPPED, right, **changes))
        write(rows, run / f"evaluation/samples-{number}.parquet", SAMPLE_COLUMNS)
        drawn, greedy = ([each for each in rows if each["greedy"] == mark] for mark in (False, True))
        tables.append(Decodings({0.0: greedy, 0.6: drawn, 1.0: drawn}, {}, 0.6))
    names = [str(run / "checkpoints" / name) for name in ("cold-start", "checkpoint-3")][:checkpoints]
    results = summarise(names, tables, Settings(problems=80, samples=1))
    (run / "evaluation" / "results.json").write_text(json.dumps(results))
    return results


def page_of(run: Path) -> str:
    return write_report(run).read_text()


class Outline(HTMLParser):
    """Tags, attributes and text of a page; fails on a tag that is closed out of order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.stack: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "br", "img", "link", "input"):
            self.stack.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_before_the_first_rl_step_the_page_says_how_far_the_cold_start_is(tmp_path):
    run = make_run(tmp_path / "run")
    rows = [{"phase": "cold-start", "step": step, "loss": 5 / step} for step in (1, 4)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in rows))
    assert "<dd>4 of 5, loss 5.00 → 1.25</dd>" in write_live_report(run).read_text()


def test_the_page_says_what_changed_with_its_interval(tmp_path):
    run = make_run(tmp_path / "run")
    change = evaluate(run)["pairs"][0]["best"]["measures"]["accuracy"]
    text = Outline(page_of(run)).text
    low, high = change["low"] * 100, change["high"] * 100
    assert (
        "Each model at its best decoding, accuracy on 80 held-out problems rose from 20.0% (temperature 0.6) to 100.0% "
        f"(temperature 0.6): +80.0 points, 95% interval {low:+.1f} to {high:+.1f}, clear of zero. At temperature 1 the "
        "change is +80.0 points, not more than at best decoding." in text
    )
    assert "seed 7" in text.replace("seed7", "seed 7") and "4 March 2026, 05:06 UTC" in text
    for measure in ("greedy accuracy", "first-attempt accuracy", "step accuracy", "repair rate, of slips", "truncated"):
        assert text.count(measure) >= 3  # all tasks together and each


def test_problems_that_were_passed_over_are_named(tmp_path):
    run = make_run(tmp_path / "run")
    evaluate(run)
    path = run / "evaluation" / "results.json"
    results = json.loads(path.read_text())
    results["settings"]["skip"] = 400
    path.write_text(json.dumps(results))
    text = Outline(page_of(run)).text
    assert text.count("80 held-out problems after the first 400") >= 2  # in the verdict and in the settings


def test_no_gain_is_called_noise(tmp_path):
    run = make_run(tmp_path / "run")
    evaluate(run)
    path = run / "evaluation" / "results.json"
    results = json.loads(path.read_text())
    results["pairs"][0]["best"]["measures"]["accuracy"] = {"value": 0.01, "low": -0.02, "high": 0.04, "count": 80}
    path.write_text(json.dumps(results))
    assert "95% interval −2.0 to +4.0, within noise: no change is shown." in Outline(page_of(run)).text


def test_the_page_loads_nothing_and_runs_its_own_script_alone(tmp_path):
    run = make_run(tmp_path / "run")
    evaluate(run)
    page = page_of(run)
    outline = Outline(page)
    assert not outline.stack
    script = (Path(explorer.__file__).parent / "explorer.js").read_text()
    packed = explorer.pack(load_run(run)).data
    assert page.count(script) == page.count(packed) == 1
    assert not re.search(r"https?:|@import|//\w", page.replace(script, "").replace(packed, ""))
    assert not re.search(r"https?:|import\(|fetch|XMLHttp|innerHTML|eval\(", script)
    assert not {"img", "link", "iframe", "object"} & {tag for tag, _ in outline.tags}
    assert [attrs for tag, attrs in outline.tags if tag == "script"] == [
        {"type": "application/octet-stream", "id": "rollouts"},
        {},
    ]
    policy = next(attrs["content"] for _, attrs in outline.tags if "http-equiv" in attrs)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    assert all(not name.startswith("on") for _, attrs in outline.tags for name in attrs)
    references = [attrs["href"] for _, attrs in outline.tags if "href" in attrs] + re.findall(r"url\(([^)]*)\)", page)
    ids = [attrs["id"] for _, attrs in outline.tags if "id" in attrs]
    assert references and all(reference[1:] in ids for reference in references)
    assert len(ids) == len(set(ids))


def test_what_a_model_or_a_config_says_is_shown_as_text(tmp_path):
    run = make_run(tmp_path / "run", completion=f"<think> {ATTACK} 1 + 1 = 3 </think> {ATTACK}")
    config = yaml.safe_load((run / "config.yaml").read_text()) | {"name": ATTACK, "model": ATTACK}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    outline = Outline(page_of(run))
    assert "img" not in {tag for tag, _ in outline.tags}
    assert outline.text.count(ATTACK) >= 2 * 2 + 3  # thinking and answer at two steps; title, heading and configuration


def test_a_task_name_in_a_plot_is_escaped(tmp_path):
    run = make_run(tmp_path / "run")
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["tasks"][f"$x$ {ATTACK}"] = {}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    assert "img" not in {tag for tag, _ in Outline(page_of(run)).tags}


def test_the_same_run_gives_the_same_page(tmp_path):
    run = make_run(tmp_path / "run")
    evaluate(run)
    assert page_of(run) == page_of(run)


def test_attempts_of_a_search_are_marked_in_their_places():
    reading = read(row(countdown(), SEARCH.replace("6 * 8 = 48", "6 * 8 = 49"), False))
    first, second = reading.lines
    assert [line.attempt[0] for line in reading.lines] == [1, 2]
    assert not first.attempt[1].correct and not second.attempt[1].correct
    assert first.misjudged == "" and second.misjudged == "yes"
    assert [(piece.text, piece.correct, piece.should_be) for piece in first.pieces if piece.correct is not None] == [
        ("6 * 8 = 49", False, "48"),
        ("48 + 20 = 68", True, ""),
    ]
    assert reading.answer == "20 / 2 + 8"


def test_a_right_attempt_is_marked_right():
    lines = read(row(countdown(), corrected(), True)).lines
    assert [line.attempt[1].correct for line in lines] == [False, True]


def test_a_redone_step_stands_on_its_own_line_under_the_slip():
    slip, redo = read(row(arithmetic(), REDONE, True)).lines
    assert slip.attempt[0] == 1 and not slip.attempt[1].correct and slip.pieces[0].text.strip() == "for 36 * 4 :"
    assert [p.text for p in slip.pieces if p.correct is False] == ["3 * 4 = 13"]
    assert redo.redo == "redoes the slip" and redo.attempt[0] == 2 and redo.attempt[1].correct
    assert redo.pieces[0].text == "3 * 4 = 12" and redo.pieces[0].correct


def test_nothing_of_a_completion_is_lost():
    for problem, completion in ((countdown(), SEARCH), (countdown(), corrected()), (arithmetic(), REDONE)):
        reading = read(row(problem, completion, True))
        shown = "".join(piece.text for line in reading.lines for piece in line.pieces)
        assert f"<think>{shown}</think>{reading.answer}".split() == completion.replace("> ", ">").split()


def test_thinking_that_the_chat_template_opened_is_thinking():
    reading = read(row(arithmetic(), "3 * 4 = 12 yes</think> 12", False))
    assert reading.lines[0].pieces[0].correct and reading.answer == "12"


def test_a_completion_that_never_thinks_is_all_answer():
    reading = read(row(arithmetic(), "it is 144", False, thinking_tokens=0))
    assert not reading.lines and reading.answer == "it is 144"


def test_division_by_zero_and_an_unfinished_thinking_are_shown():
    line = read(row(countdown(), "<think> try 6 / 0 = 6 , 6 +", False)).lines[0]
    assert [piece.should_be for piece in line.pieces if piece.correct is False] == ["undefined"]
    assert line.pieces[-1].text == " , 6 +"


def test_twenty_rollouts_are_the_same_problems_before_and_after(tmp_path):
    run = make_run(tmp_path / "run")
    evaluate(run)
    page = page_of(run)
    assert page.count('<article class="rollout') == 20
    assert page.count(">cold-start</span>") == page.count(">checkpoint-3</span>") == 10
    text = Outline(page).text
    assert "Wrong before, corrected itself after" in text and "64 of 80 pairs" in text


def test_without_an_evaluation_the_page_says_how_to_make_one(tmp_path):
    run = make_run(tmp_path / "run")
    text = Outline(page_of(run)).text
    assert "Not evaluated yet" in text and f"python scripts/evaluate.py --run {run}" in text
    assert "RL step 1" in text and "RL step 3" in text and "redoes the slip" in text


def test_one_checkpoint_alone_claims_no_gain(tmp_path):
    run = make_run(tmp_path / "run")
    evaluate(run, checkpoints=1)
    text = Outline(page_of(run)).text
    assert (
        "Accuracy on 80 held-out problems is 20.0% at the best decoding, temperature 0.6" in text
        and "nothing can be said of a gain" in text
    )
    assert not re.search(r"[+−][\d.]+ points", text)


def test_one_task_and_no_rl_yet(tmp_path):
    run = make_run(tmp_path / "run", tasks=("countdown",))
    assert "all tasks" not in Outline(page_of(run)).text
    for part in (run / "rollouts.parquet").iterdir():
        part.unlink()
    (run / "metrics.jsonl").write_text('{"phase": "cold-start", "step": 5, "loss": 1.0}\n{"phase": "cold-sta')
    text = Outline(page_of(run)).text
    assert "No RL step was logged yet." in text and "No rollouts were recorded yet." in text


def test_an_older_evaluation_is_pointed_out(tmp_path):
    run = make_run(tmp_path / "run")
    evaluate(run)
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"phase": "rl", "step": 9, "reward": 0.5}\n')
    assert "The evaluation is of checkpoint-3; training has reached step 9 since." in Outline(page_of(run)).text


def remove_config(run: Path) -> None:
    (run / "config.yaml").unlink()


def remove_metrics(run: Path) -> None:
    (run / "metrics.jsonl").unlink()


def break_metrics(run: Path) -> None:
    (run / "metrics.jsonl").write_text("{}\n")


def break_parquet(run: Path) -> None:
    next((run / "rollouts.parquet").iterdir()).write_bytes(b"PAR1 and no more")


def other_parquet(run: Path) -> None:
    pq.write_table(pa.table({"step": [1]}), run / "rollouts.parquet" / "train-000009-rank0-000.parquet")


def break_results(run: Path) -> None:
    (run / "evaluation" / "results.json").write_text('{"settings": {')


def other_results(run: Path) -> None:
    (run / "evaluation" / "results.json").write_text('{"settings": {}, "checkpoints": [1], "pairs": []}')


def null_in(name: str, part: str) -> Callable[[Path], None]:
    """What makes one value of a file of rollouts, or of samples, null."""

    def spoil(run: Path) -> None:
        path = next(run.glob(part))
        table = pq.read_table(path)
        values = table[name].to_pylist()
        place = table.schema.get_field_index(name)
        pq.write_table(table.set_column(place, name, pa.array([values[0], None, *values[2:]], table[name].type)), path)

    return spoil


def number_for_text(run: Path) -> None:
    path = next((run / "rollouts.parquet").iterdir())
    table = pq.read_table(path)
    place = table.schema.get_field_index("completion")
    pq.write_table(table.set_column(place, "completion", pa.array(range(len(table)))), path)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (remove_config, "is not a run folder"),
        (remove_metrics, "has no metrics.jsonl"),
        (break_metrics, "line 1, is not as `train` writes it"),
        (break_parquet, "cannot be read as parquet"),
        (other_parquet, "cannot be read as parquet"),
        (break_results, "is not valid JSON"),
        (other_results, "is not what scripts/evaluate.py writes"),
        (null_in("completion", "rollouts.parquet/train-000002-*"), r"train-000002-.*, row 1: completion is null"),
        (null_in("problem", "rollouts.parquet/train-000001-*"), r"train-000001-.*, row 1: problem is null"),
        (null_in("completion", "evaluation/samples-0.parquet"), r"samples-0.parquet, row 1: completion is null"),
        (null_in("step", "rollouts.parquet/train-000003-*"), r"row 1: step is null"),
        (number_for_text, "the column completion holds int64"),
    ],
)
def test_what_cannot_be_read_is_named_in_one_line(tmp_path, spoil, says):
    run = make_run(tmp_path / "run")
    evaluate(run)
    spoil(run)
    with pytest.raises(ValueError, match=says) as caught:
        write_report(run)
    assert "\n" not in str(caught.value)
    assert not (run / "report.html").exists()


def test_plots_and_claims_lie_beside_the_page(tmp_path, pictures):
    beside = write_report(make_run(tmp_path / "run")).with_suffix("")
    assert (beside / "reward.png").read_bytes().startswith(b"\x89PNG")
    drawn = (beside / "accuracy-step.svg").read_text()
    assert drawn.startswith("<?xml") and "var(" not in drawn
    assert len(json.loads((beside / "claims.json").read_text())["claims"]) == 7


def test_a_claim_without_evidence_shows_the_command_that_supplies_it(tmp_path):
    run = make_run(tmp_path / "run")
    text = Outline(page_of(run)).text
    assert f"No evidence yet. It comes from python scripts/claims.py --run {run}" in text
    assert f"Open: {NO_CONTROL}" in text
    assert "a model from scratch reads no plain words" in text


def test_a_claim_shows_its_figures_and_where_they_lie(tmp_path):
    run = make_run(tmp_path / "run")
    (run / "evaluation").mkdir()
    estimate = {"value": 0.25, "low": 0.125, "high": 0.5, "count": 40}
    point = {"tokens": 9.0, "flops": 9.0, "accuracy": estimate, "best_accuracy": estimate}
    plain = {"difference": estimate, "rise": estimate | {"low": -0.5}}
    curve = {"points": [point, point], **plain, "greedy": {"difference": estimate}, "best": plain}
    hottest = {"temperatures": [0, 1], "best": 1, "fall": estimate | {"low": -0.125}}
    curve["hottest"] = {"start": hottest, "trained": hottest}
    (run / "evaluation" / "train-curve.json").write_text(json.dumps(curve))
    page = page_of(run)
    text = Outline(page).text
    for model, gain in (("start", "smaller"), ("trained model", "larger")):
        assert (
            f"run: the accuracy of the {model} is not shown to fall by temperature 1, the hottest tried (best: 1"
            in text
        )
        assert f"and the gain {gain}; give hotter ones, such as --temperatures 0 1 1.5 2." in text
    assert "it changes by −25.0 points [−50.0, +12.5]), so its best may be hotter" in text
    assert "+25.0 points" in page and "[+12.5, +50.0]" in page and 'aria-label="Accuracy against what' in page
    first = judge_claims([run])["claims"][0]
    assert first["verdict"] == "inconclusive"
    assert [found.places for found in intervals(first)][:2] == [(75, 90, 120), (0, 90, 120)]  # 60 is the threshold
    left, width = map(float, re.findall(r'viewBox="(\S+) 0 (\S+) 12"', page)[0])
    radius = float(re.findall(r'cx="90.0" cy="6" r="(\S+)"', page)[0])
    assert left <= -radius and left + width >= WIDTH + radius  # a dot at either end is drawn whole
    assert [found.verdict for found in intervals(first)] == ["supported", "inconclusive", "", "", ""]


def test_a_threshold_of_a_cost_is_where_the_cost_begins(tmp_path):
    level = {"value": -0.02, "low": -0.03, "high": -0.01, "count": 40}
    figure = {"figure": "", "says": "room", "above": 0.0, "allowance": 0.02, "threshold": -0.02, "estimate": level}
    (found,) = intervals({"figures": [figure | {"verdict": "supported"}], "beside": []})
    assert found.places[1] == 60 and found.says == "room (may cost at most 2 points, 5 excluded)"


def test_the_page_opens_with_accuracy_against_temperature(tmp_path, pictures):
    run = make_run(tmp_path / "run")
    evaluate(run)
    page = page_of(run)
    assert page.index("Accuracy against temperature") < page.index("Seven claims")
    assert "greedy" in page[page.index("Accuracy against temperature, before") : page.index("Seven claims")]
    assert (run / "report" / "temperature.png").is_file()
    text = Outline(page).text
    assert "each at its best decodingdecodingtemperature 0.6temperature 0.6" in text.replace("\n", "")


def test_several_seeds_are_judged_together_and_the_page_says_so(tmp_path):
    runs = [make_run(tmp_path / name) for name in ("one", "two", "three")]
    for seed, run in enumerate(runs):
        config = yaml.safe_load((run / "config.yaml").read_text())
        (run / "config.yaml").write_text(yaml.safe_dump(config | {"seed": seed}))
    alone, together = (Outline(write_report(runs[0], None, seeds).read_text()).text for seeds in ([], runs[1:]))
    assert "This is one run from one seed." in alone and "Verdicts hold in this run." in alone
    assert "are of 3 seeds; all else here is of one of them" in together and "hold across 3 seeds." in together


def test_probes_are_shown_with_how_well_their_detectors_find(tmp_path):
    run = make_run(tmp_path / "run")
    found = {"value": 0.25, "low": 0.125, "high": 0.5, "count": 40}
    figures = {stage: {"measures": dict.fromkeys(of), "tasks": {}} for stage, (_, of, _) in STAGES.items()}
    figures["injection"]["measures"]["recovery"] = found
    measured = {
        "settings": {"problems": 40},
        "checkpoints": [{"checkpoint": name, **figures} for name in ("before", "after")],
        "pairs": [{"before": "before", "after": "after", **figures}],
        "detectors": {
            "monitor": {"all": {"right": 15, "extra": 5, "missed": 10, "precision": 0.75, "recall": 0.6}},
            "lexical": {"subgoals": {"right": 1, "extra": 0, "missed": 0, "precision": 1.0, "recall": 1.0}},
        },
    }
    (run / "evaluation").mkdir()
    (run / "evaluation" / "probes.json").write_text(json.dumps(measured))
    text = Outline(page_of(run)).text
    assert "recovers25.0% [12.5, 50.0]25.0% [12.5, 50.0]+25.0 [+12.5, +50.0] *" in text
    assert "monitor, all0.7500.60025" in text and "lexical, subgoals1.0001.0001" in text


def test_an_unreadable_curve_or_probe_is_named(tmp_path):
    run = make_run(tmp_path / "run")
    (run / "evaluation").mkdir()
    (run / "evaluation" / "probes.json").write_text('{"checkpoints": []}')
    with pytest.raises(ValueError, match=r"probes.json (is not what|has no figure probes:)"):
        write_report(run)


def test_the_script_prints_where_the_page_is_or_one_line_and_exit_code_2(tmp_path, monkeypatch, capsys):
    run = make_run(tmp_path / "run")
    main = runpy.run_path(str(SCRIPT))["main"]

    def script(*arguments: Path | str) -> int:
        monkeypatch.setattr("sys.argv", [str(SCRIPT), *map(str, arguments)])
        return main()

    assert script(run, "--output", tmp_path / "page.html") == 0
    assert str(tmp_path / "page.html") in capsys.readouterr().out
    assert (tmp_path / "page.html").read_text().startswith("<!DOCTYPE html>")
    for wrong in (
        [tmp_path / "nothing"],
        [run, "--output", tmp_path / "nowhere" / "page.html"],
        [run, "--output", run],
    ):
        assert script(*wrong) == 2
        said = capsys.readouterr().err
        assert said.startswith("error: ") and said.count("\n") == 1


def test_a_run_reads_back(tmp_path):
    run = load_run(make_run(tmp_path / "run"))
    assert run.name == "tiny" and len(run.rl) == 3 and run.results is None


def test_more_tasks_than_curves_have_colours_are_said(tmp_path):
    run = make_run(tmp_path / "run")
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["tasks"] |= {f"gym:task_{number}": {} for number in range(5)}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    assert "There are 7 tasks: the curves are of all together and of the first 5" in Outline(page_of(run)).text
