"""What the source of a problem's tests says, before they run: the functions that they call, and what cannot work."""

import ast
import builtins
from collections.abc import Sequence
from itertools import chain

from data.fixed_sets.fixed_set import Fault
from data.sandbox.wire import PLAIN

PLAIN_ATTRIBUTES = frozenset(chain.from_iterable(map(dir, PLAIN)))


def called(tests: str) -> list[str]:
    """The functions that tests call without defining them: the answer's. Raises Fault for text that is not Python."""
    try:
        tree = ast.parse(tests)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise Fault(f"its tests are no Python: {error}.") from None
    calls = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    calls |= {
        argument.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        for argument in node.args
        if isinstance(argument, ast.Name)
    }
    bound: set[str] = set(dir(builtins))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            bound.add(node.name)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            bound.add(node.id)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            bound.add(node.name)
        elif isinstance(node, ast.alias):
            bound.add((node.asname or node.name).split(".")[0])
    return sorted(calls - bound)


def object_of(tests: str, names: Sequence[str]) -> str | None:
    """The first use of an attribute of what the answer returns that no plain value has: `stack.push`. None without."""
    nodes = list(ast.walk(ast.parse(tests)))

    def is_returned(node: ast.AST) -> bool:
        return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names

    kept = {
        target.id
        for node in nodes
        if isinstance(node, ast.Assign) and is_returned(node.value)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in nodes:
        if not isinstance(node, ast.Attribute) or node.attr in PLAIN_ATTRIBUTES:
            continue
        if is_returned(node.value) or (isinstance(node.value, ast.Name) and node.value.id in kept):
            return ast.unparse(node)[:80]
    return None


def asserted_tuple(tests: str) -> str | None:
    """The first assertion of a tuple that is not empty, which always holds, or None."""
    for node in ast.walk(ast.parse(tests)):
        if isinstance(node, ast.Assert) and isinstance(node.test, ast.Tuple) and node.test.elts:
            return ast.unparse(node)[:80]
    return None
