"""Sessions: groups that join, leave and are cancelled between steps draw what `generate` draws."""

import random
from dataclasses import replace

import pytest
from rollout_models import STOP, largest_gap, prompts_of, scratch_llama

from train.rollout.engine import RolloutEngine
from train.rollout.interface import Sampling, Thinking

SAMPLING = Sampling(20, (STOP,))
OPEN, CLOSE = 5, 6


@pytest.fixture(params=["dense", "torch operators", "pages"])
def engine(request, llama):
    return RolloutEngine(
        llama, max_rows=6, page_tokens=16 if request.param == "pages" else None, chunk_tokens=24,
        native_kernels=request.param == "dense",
    )  # fmt: skip


def alone(engine, prompt, samples, sampling):
    return [rollout.token_ids for rollout in engine.generate([prompt], samples, sampling)]


def drain(session, arrivals=(), cancelled=()):
    """Step until all is done; `arrivals` are (step, prompt, samples, sampling), `cancelled` (step, place)."""
    got, numbers, step = {}, {}, 0
    arrivals = dict(enumerate(arrivals))
    while arrivals or session.has_work:
        for place, (when, *request) in list(arrivals.items()):
            if when <= step:
                numbers[place] = session.submit(*request)
                del arrivals[place]
        for when, place in cancelled:
            if when == step and place in numbers:
                session.cancel(numbers[place])
        for news in session.step():
            ids, logprobs, _ = got.get((news.group, news.sample), ([], [], None))
            got[news.group, news.sample] = ids + news.token_ids, logprobs + news.logprobs, news.rollout
        step += 1
    return {place: [got[key] for key in sorted(got) if key[0] == number] for place, number in numbers.items()}


def test_requests_that_arrive_midway_draw_what_they_draw_alone(engine):
    prompts = prompts_of([9, 40, 17, 70, 5])
    asked = [
        (0, prompts[0], 2, replace(SAMPLING, seed=1)),
        (0, prompts[1], 1, replace(SAMPLING, seed=2, temperature=0.0)),
        (3, prompts[2], 3, replace(SAMPLING, seed=3, temperature=0.6, max_new_tokens=7)),
        (4, prompts[3], 1, replace(SAMPLING, seed=4, top_p=0.9)),
        (30, prompts[4], 1, replace(SAMPLING, seed=5)),
    ]
    expected = [alone(engine, *request) for _, *request in asked]
    with engine.session(SAMPLING, longest=128) as session:
        got = drain(session, asked)
    for place, samples in got.items():
        assert [ids for ids, _, _ in samples] == expected[place]
        for ids, logprobs, rollout in samples:
            assert rollout.token_ids == ids and rollout.logprobs == pytest.approx(logprobs)


def test_logprobs_of_a_session_are_the_plain_forwards(engine, llama):
    prompt = prompts_of([33])[0]
    with engine.session(SAMPLING, longest=128) as session:
        (samples,) = drain(session, [(0, prompt, 4, SAMPLING)]).values()
    assert largest_gap(llama, [prompt], [rollout for _, _, rollout in samples]) < 1e-4


def test_thinking_budgets_differ_by_request(engine):
    thinking = Thinking(OPEN, CLOSE, closing_ids=(CLOSE,))
    prompt = [*prompts_of([9])[0], OPEN]
    budgets = [0, 3, 11, None]
    asked = [
        (n, prompt, 1, replace(SAMPLING, seed=7, thinking=replace(thinking, budget=budget)))
        for n, budget in enumerate(budgets)
    ]
    expected = [alone(engine, *request) for _, *request in asked]
    with engine.session(replace(SAMPLING, thinking=thinking), longest=64) as session:
        got = drain(session, asked)
    for place, budget in enumerate(budgets):
        ((ids, _, rollout),) = got[place]
        assert [ids] == expected[place]
        if budget is not None:
            assert rollout.thinking_tokens <= budget and CLOSE in ids[: budget + 1]


def test_a_cancelled_group_changes_nothing_for_the_others_and_gives_all_back(engine):
    rng = random.Random(0)
    start = prompts_of([48], seed=5)[0]  # shared blocks, which one group computes and another waits for
    for trial in range(2):
        prompts = prompts_of([rng.randrange(1, 40) for _ in range(8)], seed=trial)
        asked = [
            (
                rng.randrange(6),
                start[: rng.choice([0, 32, 48])] + own,
                rng.randrange(1, 5),
                replace(SAMPLING, seed=n),
            )
            for n, own in enumerate(prompts)
        ]
        cancelled = [(rng.randrange(14), place) for place in range(0, 8, 2)]
        with engine.session(SAMPLING, longest=128) as session:
            got = drain(session, asked, cancelled)
            run = session._run
            held = 1 if engine.page_tokens else 0  # the scratch page
            assert run.allocator.free == run.allocator.count - held
            assert not run._tree._root.children and not run._own
            assert sorted(session._free) == list(range(6)) and not session.running
        for place in range(1, 8, 2):
            assert [ids for ids, _, _ in got[place]] == alone(engine, *asked[place][1:])


def test_a_session_that_is_short_of_blocks_preempts_and_draws_the_same():
    engine = RolloutEngine(scratch_llama(), max_rows=6)
    prompts = prompts_of([9, 40, 17, 60])
    sampling = Sampling(60, ())
    asked = [(n, prompt, 2, replace(sampling, seed=n)) for n, prompt in enumerate(prompts)]
    expected = [alone(engine, *request) for _, *request in asked]
    with engine.session(sampling, longest=128) as session:
        run = session._run
        kept = [run.allocator.take_high() for _ in range(run.allocator.count - 12)]
        got = drain(session, asked)
        assert run.stats.preemptions and len(kept)
    assert [[ids for ids, _, _ in got[place]] for place in range(4)] == expected


def test_more_requests_than_rows_wait_their_turn(engine):
    prompt = prompts_of([9])[0]
    with engine.session(SAMPLING, longest=64) as session:
        numbers = [session.submit(prompt, 4, replace(SAMPLING, seed=n)) for n in range(3)]
        session.step()
        assert (session.running, session.waiting) == (4, 2)
        session.cancel(numbers[2])
        assert session.waiting == 1
        drain(session)
        assert not session.has_work


def test_what_a_session_cannot_do_is_said(engine):
    with engine.session(SAMPLING, longest=64) as session:
        for request, message in [
            (([3] * 60, 1, SAMPLING), "the prompt has 60 tokens"),
            (([3], 7, SAMPLING), "at most 6 fit"),
            (([3], 1, replace(SAMPLING, stop_ids=(2,))), "differ from the session's"),
            (([500], 1, SAMPLING), "outside the model's vocabulary"),
        ]:
            with pytest.raises(ValueError, match=message):
                session.submit(*request)
        assert not session.has_work
    with (
        pytest.raises(ValueError, match="too few for one rollout of up to 512"),
        RolloutEngine(engine.model, cache_gib=1e-4).session(SAMPLING, longest=512),
    ):
        pass
