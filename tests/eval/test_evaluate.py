import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest
import yaml

from data.mixture import load_mixture
from data.problem import Problem
from eval.evaluate import Settings, draw, evaluate, sample, summarise
from eval.measures.sample_measures import compare, measure
from eval.sampling.candidate import Candidate
from eval.sampling.decodings import accuracy, best_temperature
from eval.sampling.samples import describe
from eval.sampling.source import checkpoints_of, config_of, read_source, source_of
from train.files.checkpoints import SEAL, seal
from train.model.loading import ModelError, load_model, load_tokenizer
from train.model.prompts import messages, prompt_ids
from train.rollout.interface import Rollout

COUNTDOWN = Problem(
    "countdown", "numbers 2 6 6 target 14", "countdown 2 6 6 = 14", {"numbers": [2, 6, 6], "target": 14}
)
WRONG_THEN_RIGHT = (
    "<think> try 6 - 2 = 4 , 6 * 4 = 24 vs 14 no try 2 + 6 = 8 , 8 + 6 = 14 vs 14 yes</think> ( 2 + 6 ) + 6"
)
RIGHT_THEN_WRONG = "<think> try 2 + 6 = 8 , 8 + 6 = 14 vs 14 no or 8 - 6 = 2 vs 14 yes</think> ( 2 + 6 ) - 6"
LUCKY = "<think> try 6 - 2 = 4 , 6 * 4 = 24 vs 14 no</think> ( 2 + 6 ) + 6"


def row(tokenizer, completion, sample=0, greedy=False, finish="stop"):
    ids = [*tokenizer.encode(completion), tokenizer.eos_token_id]
    made = describe(COUNTDOWN, Rollout(ids, finish), tokenizer, opened=False)
    return made | {"checkpoint": "x", "sample": sample, "greedy": greedy}


def test_what_a_completion_did_is_counted_from_its_trace(tokenizer):
    found = row(tokenizer, WRONG_THEN_RIGHT)
    assert (found["correct"], found["first_correct"], found["attempts"]) == (True, False, 2)
    assert (found["steps"], found["right_steps"], found["slips"]) == (4, 4, 0)
    assert (found["thinking_tokens"], found["answer_tokens"]) == (30, 7)


def test_a_completion_that_was_cut_off_is_never_correct(tokenizer):
    assert not row(tokenizer, WRONG_THEN_RIGHT, finish="length")["correct"]


def test_self_correction_is_told_from_luck_and_from_spoiling(tokenizer):
    rows = [row(tokenizer, text, i) for i, text in enumerate([WRONG_THEN_RIGHT, RIGHT_THEN_WRONG, LUCKY])]
    found = measure(rows)
    assert found["incorrect_to_correct"].value == 1 / 2  # of two wrong first attempts, one was put right; one got lucky
    assert found["correct_to_incorrect"].value == 1
    assert found["right_by_luck"].value == 1 / 2
    assert found["accuracy"].value == pytest.approx(2 / 3)


def test_greedy_samples_are_measured_apart(tokenizer):
    found = measure([row(tokenizer, LUCKY), row(tokenizer, RIGHT_THEN_WRONG, 1, greedy=True)])
    assert (found["accuracy"].value, found["greedy_accuracy"].value) == (1, 0)


def test_a_comparison_is_after_minus_before(tokenizer):
    change = compare([row(tokenizer, RIGHT_THEN_WRONG)], [row(tokenizer, WRONG_THEN_RIGHT)])
    assert change["accuracy"].value == 1


def test_evaluating_writes_what_it_says(tmp_path, checkpoint):
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({"tasks": {"countdown": {}, "arithmetic": {}}, "max_completion_length": 8}))
    settings = Settings(problems=4, samples=2, max_new_tokens=8, validation_problems=2, validation_samples=1)
    results = evaluate([str(checkpoint), str(checkpoint)], read_source(config), settings, tmp_path / "out")
    written = json.loads((tmp_path / "out" / "results.json").read_text())
    assert written == json.loads(json.dumps(results))
    for key in ("accuracy", "interval", "greedy_accuracy", "incorrect_to_correct", "correct_to_incorrect",
                "step_accuracy", "thinking_tokens", "truncated", "best_temperature", "best_accuracy",
                "best_interval"):  # fmt: skip
        assert key in written["checkpoints"][0]
    pair = written["pairs"][0]
    assert (pair["difference"], pair["problems"], pair["samples"]) == (0, 4, 2)
    assert set(written["checkpoints"][0]["tasks"]) == {"countdown", "arithmetic"}
    rows = pq.read_table(tmp_path / "out" / "samples-0.parquet").to_pylist()
    assert len(rows) == 4 * (2 + 1)
    assert sum(row["greedy"] for row in rows) == 4


def always(right: bool, rows: int = 8, greedy: bool = False) -> list[dict]:
    return [{"problem": f"{n}", "correct": right, "greedy": greedy} for n in range(rows)]


def test_the_best_temperature_is_that_of_the_highest_accuracy_and_of_equals_the_lowest():
    wrong, right = always(False), always(True)
    assert best_temperature({0.0: always(False, greedy=True), 0.6: right, 1.0: wrong}) == 0.6
    assert best_temperature({1.0: right, 0.3: right, 0.6: right}) == 0.3
    assert best_temperature({0.0: always(True, greedy=True), 0.6: wrong}) == 0.0


class Tempered:
    """A back end that is right at one temperature alone, which may differ between validation and test problems."""

    def __init__(self, tokenizer, problems, best):
        self.answers = {tuple(prompt_ids(tokenizer, messages(p))): p.facts["target"] for p in problems}
        self.tokenizer, self.best = tokenizer, best

    def generate(self, prompts, samples_per_prompt, sampling, on_finished=None):
        right = sampling.temperature == self.best
        values = [self.answers[tuple(prompt)] + (not right) for prompt in prompts]
        ids = [[*self.tokenizer.encode(f"<think> so {n}</think> {n}"), self.tokenizer.eos_token_id] for n in values]
        return [Rollout(each, "stop") for each in ids for _ in range(samples_per_prompt)]


@pytest.fixture
def arithmetic(tmp_path):
    path = tmp_path / "arithmetic.yaml"
    path.write_text(yaml.safe_dump({"tasks": {"arithmetic": {}}, "max_completion_length": 8}))
    return read_source(path)


def test_each_checkpoint_is_reported_at_its_own_best_decoding(tmp_path, tokenizer, arithmetic):
    settings = Settings(problems=6, samples=2, validation_problems=4, validation_samples=1)
    problems = draw(arithmetic, settings)
    assert len(problems.choice) == 4 and not set(map(repr, problems.choice)) & set(map(repr, problems.report))
    tables = []
    for best in (0.3, 0.0):
        backend = Tempered(tokenizer, problems.report + problems.choice, best)
        tables.append(sample(Candidate("it", tokenizer, (2,), backend), problems, arithmetic, settings))
    assert [table.best for table in tables] == [0.3, 0.0]
    results = summarise(["before", "after"], tables, settings)
    before, after = results["checkpoints"]
    assert (before["best_temperature"], before["best_accuracy"], before["accuracy"]) == (0.3, 1, 0)
    assert (after["best_temperature"], after["best_accuracy"]) == (0.0, 1) and after["best_interval"][0] > 0.5
    assert [each["accuracy"]["value"] for each in before["decodings"]] == [0, 1, 0, 0, 0]
    pair = results["pairs"][0]
    assert (pair["best_difference"], pair["difference"]) == (0, 0)
    assert pair["best_temperatures"] == [0.3, 0.0]
    assert pair["best"]["tasks"]["arithmetic"]["accuracy"]["value"] == 0


def test_the_decoding_is_chosen_on_other_problems_than_those_reported(tmp_path, tokenizer, arithmetic):
    settings = Settings(problems=6, samples=2, validation_problems=4, validation_samples=1)
    problems = draw(arithmetic, settings)
    flattering = Tempered(tokenizer, problems.report + problems.choice, 0.6)
    on_validation = Tempered(tokenizer, problems.choice, 0.8)

    def generate(prompts, samples_per_prompt, sampling, on_finished=None):
        backend = on_validation if tuple(prompts[0]) in on_validation.answers else flattering
        return backend.generate(prompts, samples_per_prompt, sampling)

    candidate = Candidate("it", tokenizer, (2,), SimpleNamespace(generate=generate))
    table = sample(candidate, problems, arithmetic, settings)
    assert (table.best, accuracy(table.best_rows).value) == (0.8, 0)


def test_one_temperature_leaves_nothing_to_choose(tmp_path, checkpoint):
    source = read_source(write_config(tmp_path))
    settings = Settings(problems=3, samples=2, max_new_tokens=8, temperatures=(0.5,))
    assert not draw(source, settings).choice
    results = evaluate([str(checkpoint)], source, settings, tmp_path / "out")
    assert results["checkpoints"][0]["best_temperature"] == 0.5
    assert [each["temperature"] for each in results["checkpoints"][0]["decodings"]] == [0, 0.5, 1]


@pytest.mark.parametrize(
    ("temperatures", "said"), [((), "no temperature"), ((0.3, -1.0), "is -1"), ((1.0, 1.0), "1 is given twice")]
)
def test_a_grid_that_cannot_be_is_refused(temperatures, said):
    with pytest.raises(ValueError, match=said):
        Settings(temperatures=temperatures)


def test_a_model_is_loaded_once_in_an_evaluation(tmp_path, checkpoint, monkeypatch):
    loads = []
    monkeypatch.setattr("eval.sampling.candidate.load_model", lambda name: loads.append(name) or load_model(name))
    settings = Settings(problems=2, samples=1, max_new_tokens=4, temperatures=(1.0,))
    evaluate([str(checkpoint)] * 2, read_source(write_config(tmp_path)), settings, tmp_path / "out")
    assert loads == [str(checkpoint)]


def test_a_missing_tokenizer_is_found_before_anything_is_sampled(tmp_path, checkpoint):
    for path in checkpoint.glob("tokenizer*"):
        path.unlink()
    source = read_source(write_config(tmp_path))
    with pytest.raises(ModelError, match="tokenizer"):
        evaluate([str(checkpoint)], source, Settings(problems=2), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def write_config(folder):
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump({"model": "scratch", "tasks": {"countdown": {}}}))
    return path


def test_a_run_is_compared_from_its_cold_start_to_its_last_checkpoint(tmp_path):
    write_config(tmp_path)
    for name in ("cold-start", "checkpoint-5", "checkpoint-10", "checkpoint-20"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
        if name != "checkpoint-20":  # the last one was cut off while it was written
            seal(tmp_path / "checkpoints" / name)
    found = checkpoints_of(tmp_path)
    assert [path.rsplit("/", 1)[1] for path in found] == ["cold-start", "checkpoint-10"]
    assert config_of(tmp_path / "checkpoints" / "checkpoint-10") == tmp_path / "config.yaml"
    assert config_of(tmp_path / "model") == tmp_path / "config.yaml"  # what the run publishes
    assert config_of(tmp_path / "elsewhere" / "model") == tmp_path / "config.yaml"
    assert config_of(tmp_path / "other") is None


def test_a_run_whose_checkpoints_were_all_cut_off_says_so(tmp_path):
    write_config(tmp_path)
    (tmp_path / "checkpoints" / "checkpoint-5").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"no whole checkpoint: .*checkpoint-5: it has no complete.json"):
        checkpoints_of(tmp_path)


def test_a_cache_that_cannot_be_made_is_named_before_the_results_folder_is(tmp_path, checkpoint):
    (tmp_path / "file").touch()
    few = Settings(2, 1, 1.0, 8)
    with pytest.raises(ValueError, match=r"The folder for samples, .*file, cannot be made: File exists"):
        evaluate([str(checkpoint)], read_source(write_config(tmp_path)), few, tmp_path / "out", cache=tmp_path / "file")
    assert not (tmp_path / "out").exists()


def test_what_is_no_run_or_no_config_is_named(tmp_path):
    with pytest.raises(ValueError, match="not a run folder"):
        checkpoints_of(tmp_path)
    with pytest.raises(ValueError, match="cannot be read"):
        read_source(tmp_path / "none.yaml")
    (tmp_path / "config.yaml").write_text("model: scratch")
    with pytest.raises(ValueError, match="has no `tasks`"):
        read_source(tmp_path / "config.yaml")
    assert load_mixture({"countdown": None})[0].task == "countdown"


@pytest.mark.parametrize("config", ["[1]", "", "tasks: {arithmetic: {}}", "model: ~"])
def test_a_run_whose_config_names_no_model_is_refused_in_one_line(tmp_path, config):
    (tmp_path / "config.yaml").write_text(config)
    (tmp_path / "checkpoints" / "checkpoint-1").mkdir(parents=True)
    (tmp_path / "checkpoints" / "checkpoint-1" / SEAL).touch()
    with pytest.raises(ValueError, match=r"config\.yaml names no model; expected the configuration"):
        checkpoints_of(tmp_path)


def test_checkpoints_of_runs_that_ask_other_problems_are_not_compared_unasked(tmp_path):
    checkpoints = []
    for name, tasks in (("a", {"countdown": {}}), ("b", {"countdown": {}}), ("c", {"arithmetic": {}})):
        (tmp_path / name / "checkpoints" / "cold-start").mkdir(parents=True)
        (tmp_path / name / "config.yaml").write_text(yaml.safe_dump({"tasks": tasks}))
        checkpoints.append(str(tmp_path / name / "checkpoints" / "cold-start"))
    assert source_of(checkpoints[:2]).parts[0].task == "countdown"
    with pytest.raises(ValueError, match=r"a and .*c ask different problems.* tasks differ.*--config"):
        source_of(checkpoints)
    assert source_of(checkpoints, tmp_path / "c" / "config.yaml").parts[0].task == "arithmetic"
    with pytest.raises(ValueError, match="is not in a run folder"):
        source_of([str(tmp_path)])


@pytest.mark.parametrize(
    "tasks, named",
    [
        ("{thief.py: {}}", "names the task module thief.py, which would be run"),
        ("{thief.module: {}}", "names the task module thief.module, which would be run"),
        ("{code:x: {source: x.jsonl, sandbox: none}}", "says tasks.code:x.sandbox: none, by which programs run as you"),
    ],
)
def test_the_config_of_a_stranger_runs_nothing_unless_told(tmp_path, monkeypatch, tasks, named):
    monkeypatch.chdir(tmp_path)
    Path("thief.py").write_text("from pathlib import Path\nPath('stolen').touch()\n")
    Path("config.yaml").write_text(f"tasks: {tasks}\n")
    with pytest.raises(ValueError, match=f"^config.yaml {re.escape(named)}; give --own-tasks if you trust it"):
        read_source(Path("config.yaml"))
    assert not Path("stolen").exists()


def test_a_config_that_is_trusted_runs_its_task_modules(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text("from pathlib import Path\nPath('ran').touch()\n")
    Path("config.yaml").write_text("tasks: {mine.py: {}}\n")
    with pytest.raises(ValueError, match="has no verify"):
        read_source(Path("config.yaml"), own_tasks=True)
    assert Path("ran").exists()


@pytest.mark.parametrize("damaged", ["cold-start", "checkpoint-1"])
def test_a_damaged_checkpoint_of_a_run_is_refused_by_name(tmp_path, checkpoint, damaged):
    run = tmp_path / "run"
    write_config(run.parent)
    for name in ("cold-start", "checkpoint-1"):
        shutil.copytree(checkpoint, run / "checkpoints" / name)
        seal(run / "checkpoints" / name)
    shutil.move(tmp_path / "config.yaml", run / "config.yaml")
    assert len(checkpoints_of(run)) == 2
    load_tokenizer(str(run / "checkpoints" / damaged))  # whole so far
    weights = run / "checkpoints" / damaged / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-5] ^= 1
    weights.write_bytes(content)
    source = read_source(run / "config.yaml")
    with pytest.raises(ModelError, match=f"{damaged} is not a whole checkpoint: model.safetensors is damaged"):
        evaluate(checkpoints_of(run), source, Settings(problems=2), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_of_a_run_without_its_seal_is_refused(tmp_path, checkpoint):
    write_config(tmp_path)
    shutil.copytree(checkpoint, tmp_path / "checkpoints" / "checkpoint-7")
    with pytest.raises(ModelError, match=r"checkpoint-7 is not a whole checkpoint: it has no complete\.json"):
        load_tokenizer(str(tmp_path / "checkpoints" / "checkpoint-7"))
    shutil.copytree(checkpoint, tmp_path / "elsewhere" / "checkpoint-7")  # a stranger's model has no seal
    assert load_tokenizer(str(tmp_path / "elsewhere" / "checkpoint-7"))


NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
TURNS = "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] }}{% endfor %}"
END = "{% if messages[-1]['role'] == 'assistant' %}<|end|>{% endif %}"
GENERATE = "{% if add_generation_prompt %}<|assistant|>{% endif %}"


@pytest.mark.parametrize(
    ("template", "system_prompt", "message"),
    [
        (NO_SYSTEM + TURNS + END + GENERATE, "Be brief.", "the chat template refuses a system message"),
        (TURNS + END.replace("<|end|>", "<|user|>") + GENERATE, "", "the chat template ends a turn with '<|user|>'"),
    ],
)
def test_an_evaluation_is_refused_where_training_would_be(tmp_path, checkpoint, template, system_prompt, message):
    config = tmp_path / "config.yaml"
    config.write_text(
        yaml.safe_dump({"tasks": {"countdown": {}}, "chat_template": template, "system_prompt": system_prompt})
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        evaluate([str(checkpoint)], read_source(config), Settings(problems=2), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_completions_that_do_not_fit_the_context_are_refused_before_any_is_sampled(tmp_path, checkpoint):
    with pytest.raises(ValueError, match="max_new_tokens is 1024 and prompts take up to"):
        evaluate([str(checkpoint)], read_source(write_config(tmp_path)), Settings(2, 1, 1.0, 1024), tmp_path / "out")
