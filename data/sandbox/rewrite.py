"""Rewrites tests so that their checks are counted, and that no NaN slips through a comparison.

A check is an `assert`, a branch that may raise, or a method of `unittest.TestCase` that asserts (`harness`).
"""

import ast

CHECKED, ENTERED, REAL = "__checked__", "__entered__", "__real__"  # what the rewritten tests call
ENDS = {"exit", "quit", "fail", "_exit"}  # functions that tests call to fail


def rewritten(source: str) -> ast.Module:
    """The tests with `__checked__(condition)` around each condition that may fail them, `__entered__(name)` in each
    function, and `__real__(operand)` around each operand of an ordering. Raises SyntaxError and RecursionError.
    """
    return ast.fix_missing_locations(_Rewriting().visit(ast.parse(source)))


def may_fail(node: ast.AST) -> bool:
    """Whether a statement holds a `raise` or a certain failure."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Raise):
            return True
        if isinstance(inner, ast.Assert) and isinstance(inner.test, ast.Constant) and not inner.test.value:
            return True
        if (isinstance(inner, ast.Attribute) and inner.attr in ENDS) or (
            isinstance(inner, ast.Name) and inner.id in ENDS
        ):
            return True
    return False


def is_main_guard(node: ast.If) -> bool:
    """Whether it is the line `if __name__ == "__main__":`, which checks nothing."""
    return any(isinstance(inner, ast.Name) and inner.id == "__name__" for inner in ast.walk(node.test))


def _call(name: str, argument: ast.expr) -> ast.Call:
    return ast.copy_location(ast.Call(ast.Name(name, ast.Load()), [argument], []), argument)


def _counted(at: ast.stmt) -> ast.stmt:
    return ast.copy_location(ast.Expr(_call(CHECKED, ast.copy_location(ast.Constant(True), at))), at)


class _Rewriting(ast.NodeTransformer):
    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        self.generic_visit(node)
        node.test = _call(CHECKED, node.test)
        return node

    def visit_If(self, node: ast.If) -> ast.AST:
        failing = may_fail(node) and not is_main_guard(node)
        self.generic_visit(node)
        if failing:
            node.test = _call(CHECKED, node.test)
        return node

    def visit_Match(self, node: ast.Match) -> ast.AST:
        failing = may_fail(node)
        self.generic_visit(node)
        if failing:
            node.subject = _call(CHECKED, node.subject)
        return node

    def visit_Try(self, node: ast.Try) -> ast.AST:
        failing = may_fail(node)
        self.generic_visit(node)
        if failing:
            node.body.insert(0, _counted(node.body[0]))
        return node

    def _visit_loop(self, node: ast.For | ast.While) -> ast.AST | list[ast.stmt]:
        failing = any(map(may_fail, node.orelse))
        self.generic_visit(node)
        return [_counted(node), node] if failing else node

    def visit_For(self, node: ast.For) -> ast.AST | list[ast.stmt]:
        return self._visit_loop(node)

    def visit_While(self, node: ast.While) -> ast.AST | list[ast.stmt]:
        return self._visit_loop(node)

    def _visit_function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST:
        self.generic_visit(node)
        first = node.body[0]
        entered = ast.Expr(_call(ENTERED, ast.copy_location(ast.Constant(node.name), first)))
        node.body.insert(ast.get_docstring(node) is not None, ast.copy_location(entered, first))
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._visit_function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self._visit_function(node)

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        self.generic_visit(node)
        if any(isinstance(operator, ast.Lt | ast.LtE | ast.Gt | ast.GtE) for operator in node.ops):
            node.left = _call(REAL, node.left)
            node.comparators = [_call(REAL, operand) for operand in node.comparators]
        return node
