"""Imports run one way, data <- train <- eval <- scripts, and in no circle; those within functions are counted too."""

import ast
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = ("data", "train", "eval", "scripts")  # each may import from those before it


def modules() -> dict[str, ast.Module]:
    """Each module of the product by its dotted name."""
    paths = [path for layer in LAYERS for path in (ROOT / layer).rglob("*.py")]
    names = {path: ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in paths}
    return {name: ast.parse(path.read_text()) for path, name in names.items()}


def imports_of(tree: ast.AST) -> Iterator[str]:
    """The dotted names that a module imports, but those that only a type checker reads."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"a relative import of {node.module}"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.stmt | ast.excepthandler | ast.match_case):
            yield from imports_of(node)


def graph_of(trees: Mapping[str, ast.Module]) -> dict[str, set[str]]:
    """The modules that each module imports; `gpu_steps` and other neighbours of a script belong to `scripts`."""
    graph = {}
    for name, tree in trees.items():
        wanted = [
            candidate
            for path in imports_of(tree)
            for prefix in ("", "scripts.")
            for candidate in (f"{prefix}{path}", f"{prefix}{path}".rpartition(".")[0])
        ]
        graph[name] = {candidate for candidate in wanted if candidate in trees} - {name}
    return graph


def circle_of(graph: Mapping[str, set[str]]) -> list[str]:
    """The modules of a circle of imports; empty where there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def upward(graph: Mapping[str, set[str]]) -> list[tuple[str, str]]:
    """Imports of a module in a later layer."""
    place = {name: LAYERS.index(name.split(".")[0]) for name in graph}
    return [(name, other) for name, others in graph.items() for other in others if place[other] > place[name]]


def test_imports_have_no_circle_and_run_one_way():
    graph = graph_of(modules())
    assert len(graph) > 300 and sum(map(len, graph.values())) > 1000  # the search reads what is there
    assert circle_of(graph) == [] and upward(graph) == []


@pytest.mark.parametrize(
    ("sources", "has_circle", "is_upward"),
    [
        ({"data.a": "from data import b", "data.b": "import data.a"}, True, False),
        ({"data.a": "def f():\n    from data.b import x", "data.b": "from data.a import y"}, True, False),
        ({"data.a": "import train.b", "train.b": ""}, False, True),
        ({"train.a": "try:\n    from scripts.b import x\nexcept ImportError: pass", "scripts.b": ""}, False, True),
        ({"data.a": "if TYPE_CHECKING:\n    from eval.b import x", "eval.b": "from data.a import y"}, False, False),
        ({"scripts.a": "from b.c import x", "scripts.b.c": "import a"}, True, False),
    ],
)
def test_the_search_sees_circles_and_imports_of_later_layers(sources, has_circle, is_upward):
    graph = graph_of({name: ast.parse(text) for name, text in sources.items()})
    assert (bool(circle_of(graph)), bool(upward(graph))) == (has_circle, is_upward)


HEAVY = {"transformers", "trl", "peft", "datasets"}


def at_start(tree: ast.Module) -> set[str]:
    """The dotted names that a module imports as it is loaded, with the packages on the way to them."""
    within = [node for node in tree.body if not isinstance(node, ast.FunctionDef | ast.ClassDef)]
    names = set(imports_of(ast.Module(within, [])))
    return {name.rsplit(".", count)[0] for name in names for count in range(name.count(".") + 1)}


def test_a_script_prints_its_help_without_the_heavy_imports():
    trees = modules()
    slow = set()
    for script in (name for name in trees if name.startswith("scripts.") and name.count(".") == 1):
        reached, ahead = set(), {script}
        while ahead:
            reached |= ahead
            names = {name for module in ahead if module in trees for name in at_start(trees[module])}
            ahead = (names | {f"scripts.{name}" for name in names}) - reached
        slow |= {script} if HEAVY & reached else set()
    assert slow == set()
