import json
import shutil
from dataclasses import replace

import pytest
import torch
from scripted import chat_tokenizer

from data.problem import Problem
from eval.claims.conditions import CLAIMS
from eval.claims.controls import NO_CONTROL
from eval.claims.evidence import Work, _controls, gather
from eval.claims.judging import judge_claims
from eval.claims.plan import expected, make_plan
from eval.curves.curve_plots import write_plots
from eval.curves.equal_compute import Control
from eval.measures.estimators import wilson
from eval.sampling.candidate import Candidates
from eval.sampling.decodings import Decodings
from eval.sampling.progress import SampleCount
from eval.settings import Effort
from tests.conftest import TINY
from tests.eval.curves.test_thinking_curve import rows_of
from train.files.checkpoints import seal
from train.model.loading import ModelError
from train.model.scratch import build_model
from train.rewards.rollout_log import RolloutLog

EFFORT = Effort(
    problems=4,
    samples=2,
    budget_problems=2,
    budget_samples=2,
    parallel_problems=2,
    parallel_samples=4,
    probe_problems=4,
    probe_samples=1,
    temperatures=(0.0, 1.0),
    validation_problems=2,
    validation_samples=1,
)


def write_rollouts(folder, step):
    """What training writes of one rollout of two tokens."""
    problem = Problem("arithmetic", "2 + 2", "arithmetic 2 2 = 4", {"expression": "2 + 2"})
    row = {"task": problem.task, "problem": problem.to_json(), "prompt": problem.prompt, "completion": "4"}
    row |= {"correct": True, "format": True, "reason": "", "error": None, "truncated": False, "thinking_tokens": 0}
    RolloutLog(folder / "rollouts.parquet").write([{**row, "completion_ids": [7, 2], "reward": 1.0}], step, "train")


@pytest.fixture
def run(tmp_path, tiny_model, tokenizer):
    """A run folder of a cold start and two checkpoints, of weights that differ."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.yaml").write_text(
        "model: scratch\nseed: 0\ntasks: {countdown: {}, arithmetic: {}}\nmax_completion_length: 16\n"
    )
    lines = ['{"phase": "cold-start", "step": 1, "num_tokens": 50.0}']
    for step, name in enumerate(["cold-start", "checkpoint-1", "checkpoint-2"]):
        path = folder / "checkpoints" / name
        with torch.no_grad():
            next(tiny_model.parameters()).add_(0.01)
        tiny_model.save_pretrained(path)
        tokenizer.save_pretrained(path)
        seal(path)
        if step:
            lines.append(json.dumps({"phase": "rl", "step": step, "num_tokens": 100.0 * step}))
            write_rollouts(folder, step)
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def test_a_runs_curves_are_sampled_judged_and_drawn(run):
    planned = make_plan(run, EFFORT)
    counted = []
    gather(planned, progress=counted.append)
    assert sum(counted) == expected(planned)
    train = json.loads((run / "evaluation" / "train-curve.json").read_text())
    assert [(point["step"], point["tokens"]) for point in train["points"]] == [(0, 0), (1, 100), (2, 200)]
    test = json.loads((run / "evaluation" / "test-curve.json").read_text())
    assert list(test["stages"]) == ["cold-started", "trained"] and "no base model" in test["note"]
    assert [point["k"] for point in test["parallel"]["trained"]] == [1, 2, 4]
    assert len(test["sequential"]["trained"]["points"]) == 10  # the start thinks for 1 token, which is a limit already
    judged = judge_claims([run])
    claims = judged["claims"]
    assert any(said.startswith("run: problems solved in at least 25/50/75/90/100%") for said in judged["words"])
    assert all(figure["estimate"] for claim in claims[:2] for figure in claim["figures"] + claim["beside"])
    write_plots([run], run)
    for name in ("train-curve", "test-curve"):
        assert (run / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert "accuracy" in (run / f"{name}.svg").read_text()


def test_a_checkpoint_between_costs_less_than_the_ends_and_the_middle_one_is_probed(run):
    planned = make_plan(run, replace(EFFORT, between_samples=1))
    first, between, last = planned.checkpoints.values()
    assert planned.between == [between] and planned.probed == [first, between, last]
    assert planned.between_settings.samples == 1 < planned.settings.samples
    assert expected(planned) < expected(make_plan(run, EFFORT))


def test_a_second_time_nothing_is_sampled(run, monkeypatch):
    gather(make_plan(run, EFFORT))
    before = {path.name: path.read_text() for path in (run / "evaluation").glob("*.json")}

    def refuse(*_, **__):
        raise AssertionError("a sample was drawn that is there already")

    monkeypatch.setattr("eval.sampling.candidate._engine", lambda model: refuse)
    gather(make_plan(run, EFFORT))
    assert {path.name: path.read_text() for path in (run / "evaluation").glob("*.json")} == before


def test_what_is_wrong_with_a_run_is_found_before_anything_is_sampled(run, tmp_path):
    with pytest.raises(ValueError, match="is not a run folder with a checkpoint"):
        make_plan(tmp_path, EFFORT)
    for path in (run / "checkpoints" / "checkpoint-1").glob("tokenizer*"):
        path.unlink()
    with pytest.raises(ModelError, match="checkpoint-1 is not a whole checkpoint: tokenizer"):
        make_plan(run, EFFORT)
    with pytest.raises(ValueError, match="parallel_samples is 0"):
        Effort(parallel_samples=0)


@pytest.fixture
def spoken_run(tmp_path):
    """A run of a base model that reads plain words, cold-started and then trained for a step."""
    tokenizer = chat_tokenizer()
    torch.manual_seed(0)
    model = build_model(TINY | {"max_position_embeddings": 2048}, tokenizer)
    base = tmp_path / "base"
    folder = tmp_path / "spoken"
    folder.mkdir()
    (folder / "config.yaml").write_text(
        f"model: {base}\nseed: 0\ntasks: {{countdown: {{}}}}\nmax_completion_length: 16\n"
    )
    for path in (base, folder / "checkpoints" / "cold-start", folder / "checkpoints" / "checkpoint-1"):
        with torch.no_grad():
            next(model.parameters()).add_(0.01)
        model.save_pretrained(path)
        tokenizer.save_pretrained(path)
        seal(path)
    (folder / "metrics.jsonl").write_text(json.dumps({"phase": "rl", "step": 1, "num_tokens": 100.0}) + "\n")
    write_rollouts(folder, 1)
    return folder


def test_every_claim_on_a_model_that_reads_words_has_its_evidence(spoken_run):
    planned = make_plan(spoken_run, EFFORT)
    counted = []
    gather(planned, progress=counted.append)
    assert sum(counted) == expected(planned)
    claims = judge_claims([spoken_run])["claims"]
    for claim in CLAIMS:
        for condition in claim.conditions + claim.beside:
            assert condition.figure.path(spoken_run).is_file()
            replace(condition.figure, optional=False).read(spoken_run)  # raises where it does not resolve
    assert claims[6]["figures"][0]["estimate"]["count"] == EFFORT.problems  # against prompting step by step
    assert not any(claim["missing"] for claim in (claims[0], claims[1], claims[6])) and not claims[6]["open"]
    (untried,) = claims[1]["open"]  # both models solve nothing at any temperature, of too few problems to tell
    assert untried.startswith("spoken: the accuracy of the start is not shown to fall by temperature 1, the hottest")
    assert untried.endswith("give hotter ones, such as --temperatures 0 1 1.5 2.")
    assert claims[0]["open"] == [untried, NO_CONTROL]
    hottest = json.loads((spoken_run / "evaluation" / "train-curve.json").read_text())["hottest"]
    assert {each["upper_bound"] for each in hottest.values()} == {wilson(0, EFFORT.problems).high}
    probes = json.loads((spoken_run / "evaluation" / "probes.json").read_text())
    assert [row["checkpoint"] for row in probes["checkpoints"]] == planned.probed
    assert probes["base"] == planned.probed[1] == planned.prompted  # beside the start of RL, the control
    assert len(probes["pairs"]) == 2 and probes["pairs"][-1]["after"] == planned.stages["trained"]


@pytest.mark.parametrize(
    ("claims", "files"),
    [
        ([7], {"results", "train-curve", "step-by-step/results"}),
        ([1, 2], {"results", "train-curve", "test-curve"}),
        ([4], {"results", "train-curve", "probes"}),
    ],
)
def test_only_what_the_claims_in_question_are_judged_by_is_sampled(spoken_run, claims, files):
    planned = make_plan(spoken_run, EFFORT, claims=claims)
    counted = []
    gather(planned, progress=counted.append)
    assert sum(counted) == expected(planned) < expected(make_plan(spoken_run, EFFORT))
    folder = spoken_run / "evaluation"
    written = {str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.json")}
    assert {name for name in written if not name.startswith("cache")} == files
    judged = judge_claims([spoken_run])["claims"]
    unsampled = {claim["number"] for claim in judged if any("claims.py --run" in why for why in claim["missing"])}
    assert not unsampled & {1, *claims} and unsampled
    write_plots([spoken_run], spoken_run)
    assert (spoken_run / "scaling.png").is_file()
    assert (spoken_run / "test-curve.png").is_file() == ("test-curve" in files)


def test_evidence_of_an_earlier_checkpoint_is_not_judged_beside_new_evidence(spoken_run):
    gather(make_plan(spoken_run, EFFORT))
    later = spoken_run / "checkpoints" / "checkpoint-2"
    shutil.copytree(spoken_run / "checkpoints" / "checkpoint-1", later)
    with (spoken_run / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"phase": "rl", "step": 2, "num_tokens": 200.0}) + "\n")
    with pytest.raises(
        ValueError, match=r"test-curve.json is of checkpoint-1, but the run's last .* checkpoint-2: judge"
    ):
        make_plan(spoken_run, EFFORT, claims=[1])
    make_plan(spoken_run, EFFORT)


@pytest.fixture
def control(run, tmp_path):
    """A control that went on from the run's cold start, and whose second of three checkpoints has as much compute."""
    folder = tmp_path / "control"
    shutil.copytree(run, folder)
    shutil.rmtree(folder / "checkpoints" / "cold-start")
    shutil.copytree(folder / "checkpoints" / "checkpoint-2", folder / "checkpoints" / "checkpoint-3")
    write_rollouts(folder, 3)
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("scratch", f"{run}/checkpoints/cold-start") + "method: rft\n")
    rows = [
        {"phase": "rl", "step": step, "num_tokens": tokens} for step, tokens in ((1, 100.0), (2, 210.0), (3, 400.0))
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def decodings(best):
    """A model that is wrong when it is greedy and right at temperature 1, whichever is called its best."""
    greedy = [{**row, "greedy": True} for row in rows_of([False])]
    return Decodings({0.0: greedy, 1.0: rows_of([True])}, {}, best)


def test_the_trained_model_is_compared_with_the_control_of_equal_compute(run, control):
    planned = make_plan(run, EFFORT, controls=[Control("rft", control)])
    taken, trained = str(control / "checkpoints" / "checkpoint-2"), planned.stages["trained"]
    tables = {
        taken: decodings(0.0),
        trained: decodings(1.0),
    }
    candidates = Candidates(planned.cache, chat=planned.source.chat, system_prompt=planned.source.system_prompt)
    found = _controls(Work(planned, candidates, SampleCount(1, None), tables))["rft"]
    assert (found["run"], found["checkpoint"], found["trained"]) == (str(control), taken, trained)
    assert (found["difference"]["value"], found["accuracy"]["value"], found["best_temperature"]) == (1, 0, 0)
    parameters = candidates.load(trained).parameters
    assert (found["flops"], found["flops_of_reinforcement"]) == (8 * 210 * parameters, 8 * 200 * parameters)
    assert found["enough"]
    (control / "metrics.jsonl").write_text((control / "metrics.jsonl").read_text().replace("400.0", "250.0"))
    for name in ("checkpoint-2", "checkpoint-3"):
        shutil.rmtree(control / "checkpoints" / name)
    tables[str(control / "checkpoints" / "checkpoint-1")] = tables[taken]
    found = _controls(Work(planned, candidates, SampleCount(1, None), tables))["rft"]
    assert (found["flops"], found["enough"]) == (8 * 100 * parameters, False)


def test_a_run_without_a_cold_start_of_its_own_is_compared_from_where_it_started(run, control, tmp_path):
    planned = make_plan(control, EFFORT, controls=[Control("rl", run)])
    tables = dict.fromkeys([planned.stages["trained"], str(run / "checkpoints" / "checkpoint-2")],
                           decodings(1.0))  # fmt: skip
    candidates = Candidates(planned.cache, chat=planned.source.chat, system_prompt=planned.source.system_prompt)
    found = _controls(Work(planned, candidates, SampleCount(1, None), tables))["rl"]
    assert found["flops"] / found["flops_of_reinforcement"] == 200 / 400


def test_the_script_compares_with_controls_and_refuses_them_once_the_run_went_on(run, control, script):
    options = {
        name: getattr(EFFORT, name) for name in ("problems", "samples", "validation_problems", "validation_samples")
    }
    words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value)]
    words += ["--run", run, "--claims", 1, "--temperatures", 0, 1, "--processes", 1]
    done = script("claims", *words, "--against", f"rft={control}")
    assert done.returncode == 0, done.stderr
    assert "spent 105% of RL's FLOPs" in " ".join(done.stdout.split())
    claims = json.loads((run / "evaluation" / "claims.json").read_text())
    assert claims["claims"][0]["figures"][-1]["figure"] == "controls:rft.difference"
    controls = run / "evaluation" / "controls.json"
    content = json.loads(controls.read_text())
    assert [figures["trained"] for figures in content.values()] == [str(run / "checkpoints" / "checkpoint-2")]

    earlier = {"more-cold-start": content["rft"] | {"flops": 0}, "rft": content["rft"] | {"flops": 0}}
    other = content["rft"] | {"trained": str(run / "checkpoints" / "checkpoint-1")}
    controls.write_text(json.dumps(earlier | {"of-another-checkpoint": other}))
    done = script("claims", *words, "--against", f"rft={control}")
    assert done.returncode == 0, done.stderr
    assert json.loads(controls.read_text()) == earlier | content  # one that is not given again stays

    shutil.copytree(run / "checkpoints" / "checkpoint-2", run / "checkpoints" / "checkpoint-3")
    write_rollouts(run, 3)
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"phase": "rl", "step": 3, "num_tokens": 300.0}\n')
    done = script("claims", *words)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert (
        "controls.json is of checkpoint-2, but the run's last checkpoint is checkpoint-3: give --against" in done.stderr
    )
    make_plan(run, EFFORT, controls=[Control("rft", control)])
    for figures in content.values():
        del figures["trained"]  # as the version before wrote it
    controls.write_text(json.dumps(content))
    done = script("claims", *words)
    assert done.returncode == 2 and "of another version: give --against again, or delete it" in done.stderr
