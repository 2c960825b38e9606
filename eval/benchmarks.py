"""Benchmarks by name (`configs/benchmarks/NAME.yaml`): what they ask, how often, and within which budget.

A benchmark is asked at one decoding, as in papers: it has no other problems to choose a best one on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from data.contamination import overlaps
from data.fixed_sets.reasoning_traces import NoTrace, TraceSettings, read_traces
from data.mixture import draw_problems, load_mixture
from data.paths import user_path
from data.problem import Problem
from data.settings import read_settings
from data.tasks import get_task
from eval.evaluate import evaluate
from eval.sampling.candidate import Candidates
from eval.sampling.progress import sample_bar
from eval.sampling.source import Source, config_of, held_out, read_source, source_of
from eval.sampling.workers import Workers
from eval.settings import BENCHMARKS, Settings, benchmark_names
from train.files.recorded_config import read_run_config
from train.files.untrusted import read_yaml
from train.model.chat import TOKENIZERS_OWN, Chat
from train.model.prompts import messages, prompt_ids

TRAIN_PROBLEMS, SEED = 8_000, 42  # of a config that names neither
TRACES = 100_000  # of a cold start's, at most, that a benchmark is compared with


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """One benchmark as its file describes it. `settings` are the task's, such as its columns, apart from the source."""

    title: str
    task: str
    source: str
    split: str
    settings: dict[str, Any]
    problems: int  # that the set has; where fewer can be judged, the table says so
    max_new_tokens: int
    samples: int
    subset: str | None = None
    revision: str = "main"
    prompt: str = "task"  # system prompt of models whose run gives none; `task` is the task's own instructions
    temperature: float = 0.6

    def at(self, path: Path) -> "Benchmark":
        """The same benchmark out of a local file with the same columns."""
        return replace(self, source=str(path), subset=None, revision="local file", split="train")


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a benchmark. `contamination` is how many of its problems a training set gives away, by checkpoint.

    None in it says that no training set is known, a text why it could not be read. `budget` is in tokens.
    """

    name: str
    benchmark: Benchmark
    budget: int
    results: Mapping[str, Any]
    contamination: dict[str, int | str | None] = field(default_factory=dict)


def read_benchmarks(choice: str, files: Sequence[str] = ()) -> dict[str, Benchmark]:
    """The benchmarks in a list such as `gsm8k,aime24`. `files` are `NAME=path.jsonl`, local files in place of the hub.

    Raises ValueError for an unknown name, and lists the known ones.
    """
    benchmarks = {}
    for name in dict.fromkeys(name.strip() for name in choice.split(",")):
        if name not in benchmark_names():
            raise ValueError(f"There is no benchmark {name!r}; expected some of: {', '.join(benchmark_names())}.")
        benchmarks[name] = read_settings(name, Benchmark, read_yaml(BENCHMARKS / f"{name}.yaml"))
    for pair in files:
        name, _, path = pair.partition("=")
        if name not in benchmarks or not path:
            raise ValueError(f"--benchmark-file is {pair!r}; expected NAME=path.jsonl of one in --benchmark.")
        if not user_path(path).is_file():
            raise ValueError(f"--benchmark-file {pair}: {path} does not exist; expected a .jsonl or .parquet file.")
        benchmarks[name] = benchmarks[name].at(user_path(path))
    return benchmarks


def source_of_benchmark(name: str, benchmark: Benchmark, run: Source | None = None) -> Source:
    """Its problems, all in our `test` split, asked as `run` asks its own. Raises ValueError where they are missing.

    A run's own system prompt replaces the benchmark's: a model is asked as it was trained.
    """
    where = {"source": benchmark.source, "subset": benchmark.subset, "splits": {"test": benchmark.split}}
    revision = None if benchmark.revision == "local file" else benchmark.revision
    spec = where | {"revision": revision, "faulty": "drop"} | benchmark.settings
    chat: Chat = run.chat if run else TOKENIZERS_OWN
    prompt = (run.system_prompt if run else "") or benchmark.prompt
    return Source(load_mixture({f"{benchmark.task}:{name}": spec}), 0, prompt, benchmark.max_new_tokens, chat)


def evaluate_benchmarks(
    benchmarks: Mapping[str, Benchmark],
    checkpoints: Sequence[str],
    output: Path,
    *,
    config: Path | None = None,
    own_tasks: bool = False,
    most: int | None = None,
    seed: int = 0,
    backend: str = "engine",
    tokenizer: str | None = None,
    cache: Path | None = None,
    workers: Workers | None = None,
) -> list[Result]:
    """Ask every checkpoint each of `benchmarks`, as its run asks its own problems. Raises ValueError.

    What `evaluate` writes goes into a folder of `output` for each benchmark. `config` stands for the config of every
    run, `most` asks fewer problems. The budget is held to the shortest context of the checkpoints.
    """
    configs = {each: config or config_of(user_path(each).absolute()) for each in checkpoints}
    of_runs = [each for each in checkpoints if configs[each]]
    run = source_of(of_runs, config, own_tasks=own_tasks) if of_runs else None
    sources = {name: source_of_benchmark(name, each, run) for name, each in benchmarks.items()}
    candidates = Candidates(
        cache or output / "cache",
        backend=backend,
        tokenizer=tokenizer,
        chat=run.chat if run else TOKENIZERS_OWN,
        system_prompt=next(iter(sources.values())).system_prompt,
        workers=workers,
    )
    results = []
    for name, benchmark in benchmarks.items():
        source = sources[name]
        problems = held_out(source, most or benchmark.problems)
        budget = min(benchmark.max_new_tokens, *(room(candidates, each, source, problems) for each in checkpoints))
        settings = Settings(
            problems=len(problems),
            samples=benchmark.samples,
            temperature=benchmark.temperature,
            max_new_tokens=budget,
            seed=seed,
            backend=backend,
            temperatures=(benchmark.temperature,),
        )
        with sample_bar(len(problems) * (benchmark.samples + 1) * len(checkpoints)) as bar:
            table = evaluate(
                list(checkpoints), source, settings, output / name, candidates=candidates, progress=bar.update
            )
        overlap_counts = {each: contamination(problems, configs[each]) for each in checkpoints}
        results.append(Result(name, benchmark, budget, table, overlap_counts))
    return results


def room(candidates: Candidates, checkpoint: str, source: Source, problems: Sequence[Problem]) -> int:
    """The tokens that a model's context leaves behind the longest prompt. Raises ValueError where it leaves none."""
    candidate = candidates.load(checkpoint)
    if candidate.context is None:
        return source.max_new_tokens
    prompts = [prompt_ids(candidate.tokenizer, messages(problem, source.system_prompt)) for problem in problems]
    rest = candidate.context - max(map(len, prompts))
    if rest < 1:
        raise ValueError(
            f"{checkpoint} has a context of {candidate.context} tokens, and the longest prompt takes "
            f"{candidate.context - rest}; leave this benchmark out."
        )
    return rest


def contamination(problems: Sequence[Problem], config: Path | None) -> int | str | None:
    """How many of a benchmark's problems the training set of a run gives away, its cold start's traces included.

    None where there is no run, and a text where its set cannot be read here.
    """
    if config is None:
        return None
    values = read_run_config(config)
    try:
        run = read_source(config, own_tasks=False)
        count, order = int(values.get("train_problems", TRAIN_PROBLEMS)), int(values.get("seed", SEED))
        trained = draw_problems(run.parts, "train", count, run.split_seed, order=order)
        trained += _traces(values.get("cold_start_data"))
    except (ValueError, OSError) as error:
        return str(error)
    procedural = [part.task for part in run.parts if get_task(part.task).draw]
    return len(overlaps(trained, problems, procedural))


def _traces(data: Any) -> list[Problem]:
    """The questions of a cold start's traces, as problems of no task."""
    if not data:
        return []
    settings = read_settings("cold_start_data", TraceSettings, {"source": data} if isinstance(data, str) else data)
    traces = [trace for trace in islice(read_traces(settings), TRACES) if not isinstance(trace, NoTrace)]
    return [Problem("cold_start_data", trace.question, trace.question, {}) for trace in traces]


def as_json(result: Result) -> dict[str, Any]:
    """A result for `benchmarks.json`."""
    return {
        "name": result.name,
        "benchmark": asdict(result.benchmark),
        "budget": result.budget,
        "contamination": result.contamination,
        "results": result.results,
    }
