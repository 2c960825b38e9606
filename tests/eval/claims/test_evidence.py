import json
import shutil
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from scripted import chat_tokenizer

from eval.claims.conditions import CLAIMS
from eval.claims.evidence import gather
from eval.claims.judging import judge_claims
from eval.claims.plan import expected, make_plan
from eval.curves.curve_plots import write_plots
from eval.settings import Effort
from tests.conftest import TINY
from train.files.checkpoints import seal
from train.model.loading import ModelError
from train.model.scratch import build_model

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
    row = {"step": step, "completion_ids": [7, 2], "correct": True, "reward": 1.0, "left_out": False}
    path = folder / "rollouts.parquet" / f"train-{step:06d}-rank0-000.parquet"
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist([row | {"prompt": "?", "truncated": False}]), path)


@pytest.fixture
def run(tmp_path, tiny_model, tokenizer):
    """A run folder of a cold start and two checkpoints, of weights that differ."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.yaml").write_text(
        "model: scratch\nseed: 0\ntasks: {countdown: {}, arithmetic: {}}\nmax_completion_length: 16\n"
    )
    lines = []
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
    assert not claims[6]["missing"] and claims[0]["missing"] == claims[1]["missing"]
    (untried,) = claims[0]["missing"]  # both models solve nothing at any temperature
    assert untried.startswith("nothing in spoken shows that the start gets worse above temperature 1, the hottest")
    assert untried.endswith("Sample hotter: --temperatures 0 1 1.5 2.")
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
