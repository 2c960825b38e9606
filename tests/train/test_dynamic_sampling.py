import json
import random
import threading
from collections import Counter
from itertools import chain
from types import SimpleNamespace

import pyarrow.dataset as ds
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from patience import PATIENCE
from resuming import DYNAMIC, launch, reward_anything, write_config

from data.problem import Problem
from train import dynamic_sampling
from train.dynamic_sampling import Candidate, DynamicSampling, Group, best, deal, to_screen
from train.model.loading import load_tokenizer
from train.model.prompts import messages, prompt_ids
from train.rewards.correctness import CorrectnessReward

SIZE = 8


def candidate(number, owner=0, spread=0.0):
    return Candidate(number, owner, spread, 0)


@given(st.integers(1, 4), st.integers(1, 8), st.floats(1, 4), st.floats(1e-9, 1), st.lists(st.booleans(), max_size=400))
def test_screening_stays_within_its_budget_and_ends(processes, share, oversample, passing, outcomes):
    wanted = share * processes
    most = int(wanted * (1 + (oversample - 1) * 4))
    passed = screened = rounds = 0
    while each := to_screen(passed, screened, wanted, most, processes, passing):
        fresh = outcomes[screened : screened + each * processes]
        screened += each * processes
        passed += sum(fresh)
        rounds += 1
        assert wanted <= screened <= most  # from the first round on there is enough to fill a batch
    assert passed >= wanted or screened > most - processes
    assert rounds >= 1


def test_as_many_are_screened_as_should_bring_enough():
    assert to_screen(0, 0, count=32, most=160, processes=2, passing=0.5) == 32
    assert to_screen(30, 64, count=32, most=160, processes=2, passing=0.5) == 2
    assert to_screen(32, 64, count=32, most=160, processes=2, passing=0.5) == 0
    assert to_screen(0, 0, count=32, most=32, processes=2, passing=0.01) == 16


@given(st.lists(st.sampled_from([0.0, 0.25, 0.5]), min_size=1, max_size=30), st.data())
def test_groups_whose_rewards_vary_most_are_kept(spreads, data):
    wanted = data.draw(st.integers(1, len(spreads)))
    kept = best([candidate(number, spread=spread) for number, spread in enumerate(spreads)], wanted)
    left_out = set(range(len(spreads))) - {one.problem for one in kept}
    assert len(kept) == wanted
    assert [one.problem for one in kept] == sorted(one.problem for one in kept)
    assert min(one.spread for one in kept) >= max((spreads[number] for number in left_out), default=0)


@given(st.integers(1, 5), st.integers(1, 6), st.randoms(use_true_random=False))
def test_all_processes_are_dealt_as_many_and_few_change_hands(processes, share, rng):
    chosen = [candidate(number, owner=rng.randrange(processes)) for number in range(processes * share)]
    dealt = deal(chosen, processes, share)
    assert [len(hand) for hand in dealt] == [share] * processes
    assert {one.problem for hand in dealt for one in hand} == set(range(len(chosen)))
    surplus = sum(max(0, sum(one.owner == process for one in chosen) - share) for process in range(processes))
    assert sum(one.owner != process for process, hand in enumerate(dealt) for one in hand) == surplus


class Model:
    """Draws `completions` of one token: 1 is right, 0 is wrong, 2 is cut off. A problem's rate is its prompt."""

    def __init__(self, rates):
        self.problems = [Problem("toy", f"{number} {rate}", str(number), {}) for number, rate in enumerate(rates)]
        self.calls = []

    def draw(self, numbers, first, count):
        self.calls.append((list(numbers), first, count))
        return [
            Group(
                number,
                10,
                [[self.token(number, sample)] for sample in range(first, first + count)],
                [[float(sample)] for sample in range(first, first + count)],
                [[sample % 2 == 0] for sample in range(first, first + count)],
            )
            for number in numbers
        ]

    def token(self, number, sample):
        rate = float(self.problems[number].prompt.split()[1])
        return 2 if rate < 0 else int(random.Random(f"{number}|{sample}").random() < rate)


class Reward:
    """What `DynamicSampling` asks of a `CorrectnessReward`."""

    def __init__(self):
        self.log = self
        self.written = []

    def judge(self, problems, completions):
        return [
            {"reward": float(ids == [1]), "correct": ids == [1], "problem": problem.canonical}
            for problem, ids in zip(problems, completions, strict=True)
        ]

    def spread(self, rows):
        rewards = torch.tensor([row["reward"] for row in rows])
        return float(rewards.std(correction=0))

    def write(self, rows, step, split, *, left_out):
        assert left_out and split == "train" and rows
        self.written += rows


def filler(rates, screening=4, oversample=2.0):
    model, reward = Model(rates), Reward()
    return DynamicSampling([one.to_json() for one in model.problems], reward, screening, oversample), model, reward


def test_silent_groups_are_replaced():
    sampling, model, reward = filler([0.0, 1.0, 0.5] * 20)
    kept, left_out, metrics = sampling.fill(1, 6, SIZE, model.draw)
    assert len(kept) == 6
    for group in kept:
        assert len(group.completions) == len(group.logprobs) == len(group.rows) == SIZE
        assert [int(logprobs[0]) for logprobs in group.logprobs] == list(range(SIZE))  # no sample twice, none left out
        assert 0 < group.successes < SIZE
    asked = {number for numbers, first, _ in model.calls for number in numbers if first == 0}
    assert metrics["dynamic_sampling/replaced"] == len(asked) - 6
    assert left_out == sampling.left_out_tokens == 4 * 11 * (len(asked) - 6)
    assert {row["problem"] for row in reward.written} == {str(n) for n in asked} - {str(g.problem) for g in kept}
    assert len(reward.written) == 4 * (len(asked) - 6)


def test_only_the_groups_that_are_kept_are_drawn_whole():
    sampling, model, _ = filler([0.0, 1.0, 0.5] * 20)
    kept, _, _ = sampling.fill(1, 6, SIZE, model.draw)
    *screens, rest = model.calls
    assert all((first, count) == (0, 4) for _, first, count in screens)
    assert rest == ([group.problem for group in kept], 4, SIZE - 4)


def test_whole_groups_can_be_drawn_at_once():
    sampling, model, _ = filler([0.0, 1.0, 0.5] * 20, screening=0, oversample=4.0)
    kept, _, _ = sampling.fill(1, 6, SIZE, model.draw)
    assert all((first, count) == (0, SIZE) for _, first, count in model.calls)
    assert all(0 < group.successes < SIZE for group in kept)


@pytest.mark.parametrize("oversample", [1.0, 1.5, 2.0, 3.0])
@pytest.mark.parametrize("screening", [2, 4, 8])
def test_the_budget_is_kept_where_nothing_varies(oversample, screening):
    sampling, model, _ = filler([0.0] * 100, screening, oversample)
    kept, _, metrics = sampling.fill(1, 5, SIZE, model.draw)
    assert len(kept) == 5 and metrics["dynamic_sampling/passed"] == 0
    rollouts = sum(len(numbers) * count for numbers, _, count in model.calls)
    assert oversample * 5 * SIZE - screening < rollouts <= oversample * 5 * SIZE


def test_where_problems_run_out_the_silent_fill_up():
    sampling, model, _ = filler([0.0, 1.0, 0.5, 0.0])
    kept, _, metrics = sampling.fill(1, 3, SIZE, model.draw)
    assert len(kept) == 3 and 2 in [group.problem for group in kept]
    assert metrics["dynamic_sampling/replaced"] == 1


def test_the_curriculum_learns_from_every_rollout():
    sampling, model, reward = filler([0.0, 1.0, 0.5] * 20)
    kept, _, _ = sampling.fill(1, 6, SIZE, model.draw)
    solved, seen = sampling.curriculum.rates.counts["toy"]
    assert seen == 6 * SIZE + len(reward.written)
    assert solved == sum(group.successes for group in kept) + sum(row["correct"] for row in reward.written)


def test_dynamic_sampling_goes_on_from_its_state_as_if_nothing_had_happened():
    unbroken, model, _ = filler([0.1, 0.9, 0.5] * 30)
    for step in range(3):
        unbroken.fill(step, 4, SIZE, model.draw)
    resumed, again, _ = filler([0.1, 0.9, 0.5] * 30)
    resumed.load_state_dict(unbroken.state_dict())
    for step in range(3, 6):
        left, right = unbroken.fill(step, 4, SIZE, model.draw), resumed.fill(step, 4, SIZE, again.draw)
        assert left == right
    assert unbroken.state_dict() == resumed.state_dict()


def test_a_run_counts_every_token_and_keeps_every_rollout(tmp_path, monkeypatch):
    monkeypatch.setattr(CorrectnessReward, "judge", CorrectnessReward.judge)  # to be put back
    reward_anything()
    values = DYNAMIC | {"max_steps": 3, "save_steps": 3, "cold_start_steps": 0, "eval_strategy": "no"}
    assert launch(write_config(tmp_path, **values), "--name", "run") == 0
    run = tmp_path / "run"
    rows = ds.dataset(run / "rollouts.parquet").to_table().to_pylist()
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    tokenizer = load_tokenizer(str(run / "checkpoints" / "checkpoint-3"))
    tokens, left_out = 0, 0
    for line in (line for line in lines if "reward" in line):
        step = [row for row in rows if row["step"] == line["step"]]
        kept = [row for row in step if not row["left_out"]]
        assert Counter(Counter(row["problem"] for row in kept).values()) == {4: 2}  # two groups of four
        assert set(Counter(row["problem"] for row in step if row["left_out"]).values()) <= {2}  # screened only
        assert not {row["problem"] for row in kept} & {row["problem"] for row in step if row["left_out"]}
        assert line["reward"] == pytest.approx(sum(row["reward"] for row in kept) / 8)
        for row in step:
            asked = prompt_ids(tokenizer, messages(Problem.from_json(row["problem"])))
            tokens += len(asked) + len(row["completion_ids"])
            left_out += row["left_out"] * (len(asked) + len(row["completion_ids"]))
        assert (line["num_tokens"], line["left_out_tokens"]) == (tokens, left_out)
    assert left_out > 0


def test_samples_of_a_group_are_drawn_as_if_all_at_once(tmp_path, monkeypatch):
    """Screened first or drawn whole, the engine's samples of a problem in a step are the same."""
    drawn = {}
    for name, values in (("screened", DYNAMIC), ("whole", DYNAMIC | {"screening_samples": 0})):
        config = write_config(tmp_path, **values, max_steps=1, cold_start_steps=0, eval_strategy="no", save_steps=1)
        assert launch(config, "--name", name) == 0
        rows = ds.dataset(tmp_path / name / "rollouts.parquet").to_table().to_pylist()
        drawn[name] = {}
        for row in rows:
            drawn[name].setdefault(row["problem"], []).append(row["completion_ids"])
    shared = drawn["screened"].keys() & drawn["whole"].keys()
    assert shared
    for problem in shared:
        samples = drawn["screened"][problem]
        assert samples == drawn["whole"][problem][: len(samples)]
        assert len({tuple(ids) for ids in samples}) > 1


class Ranks:
    """Processes played by threads: what they exchange, and how often, as accelerate would do it."""

    def __init__(self, count, monkeypatch):
        self.local = threading.local()
        self.count = count
        self.barrier = threading.Barrier(count)
        self.slots = [None] * count
        self.collectives = [0] * count
        monkeypatch.setattr(dynamic_sampling, "PartialState", lambda: self.state())
        monkeypatch.setattr(dynamic_sampling, "gather", lambda rows: torch.cat(self.exchange(rows)))
        monkeypatch.setattr(dynamic_sampling, "gather_object", lambda sent: [*chain(*self.exchange(sent))])

    def state(self):
        return SimpleNamespace(process_index=self.local.rank, num_processes=self.count, device="cpu")

    def exchange(self, mine):
        self.collectives[self.local.rank] += 1
        self.slots[self.local.rank] = mine
        self.barrier.wait(timeout=PATIENCE)  # a process that calls less often than the others breaks it
        told = list(self.slots)
        self.barrier.wait(timeout=PATIENCE)
        return told

    def run(self, work):
        results, errors = [None] * self.count, []

        def one(rank):
            self.local.rank = rank
            try:
                results[rank] = work(rank)
            except Exception as error:
                errors.append(error)
                self.barrier.abort()

        threads = [threading.Thread(target=one, args=(rank,)) for rank in range(self.count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not errors, errors
        return results


@settings(max_examples=25)
@given(
    processes=st.integers(2, 4),
    share=st.integers(1, 4),
    rates=st.lists(st.sampled_from([0.0, 0.1, 0.5, 1.0]), min_size=16, max_size=60),
    screening=st.sampled_from([2, 4, SIZE]),
)
def test_processes_end_alike_whatever_each_has_drawn(processes, share, rates, screening):
    with pytest.MonkeyPatch.context() as monkeypatch:
        ranks = Ranks(processes, monkeypatch)
        made = [filler(rates, screening) for _ in range(processes)]

        def work(rank):
            sampling, model, _ = made[rank]
            return [sampling.fill(step, share, SIZE, model.draw) for step in range(3)]

        results = ranks.run(work)
    assert len(set(ranks.collectives)) == 1
    assert all(sampling.state_dict() == made[0][0].state_dict() for sampling, _, _ in made)
    assert all(len(model.calls) == len(made[0][1].calls) for _, model, _ in made)
    for step in range(3):
        kept = [group for rank in range(processes) for group in results[rank][step][0]]
        assert len({group.problem for group in kept}) == len(kept) == share * processes
        for group in kept:
            assert [int(logprobs[0]) for logprobs in group.logprobs] == list(range(SIZE))
            assert group.forced == [[True], [False]] * (SIZE // 2)
            tokens = [made[0][1].token(group.problem, sample) for sample in range(SIZE)]
            assert [ids[0] for ids in group.completions] == tokens
        assert len({results[rank][step][1] for rank in range(processes)}) == 1
