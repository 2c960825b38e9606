"""Algebra in an answer: parsed by a grammar of our own, and judged by its value before sympy has to prove it.

A wrong antiderivative shows at once: its derivative, by forward differentiation in complex floating-point numbers,
differs from the integrand at some point. Only an answer that agrees at all points goes to sympy, whose simplification
can take hours. Only a difference below rounding could get that far.
"""

import ast
import cmath
from collections.abc import Callable, Mapping
from typing import Any

Entry = Mapping[str, Any]
Dual = tuple[complex, complex]  # a value, and its derivative by the variable

LARGEST_EXPONENT = 100
MOST_DIGITS = 100  # of a number that is raised to a power: powers of powers grow without end
MAX_NODES = 300  # of an expression
POINTS = (0.7310585, 1.3591409, 2.2360679)  # places of no special kind
TOLERANCE = 1e-6  # of the derivative, relative
FUNCTIONS = ("sin", "cos", "tan", "exp", "log", "sqrt", "asin", "acos", "atan", "sinh", "cosh", "tanh")
DERIVATIVES: dict[str, Callable[[complex], complex]] = {
    "sin": cmath.cos,
    "cos": lambda at: -cmath.sin(at),
    "tan": lambda at: 1 / cmath.cos(at) ** 2,
    "exp": cmath.exp,
    "log": lambda at: 1 / at,
    "sqrt": lambda at: 1 / (2 * cmath.sqrt(at)),
    "asin": lambda at: 1 / cmath.sqrt(1 - at * at),
    "acos": lambda at: -1 / cmath.sqrt(1 - at * at),
    "atan": lambda at: 1 / (1 + at * at),
    "sinh": cmath.cosh,
    "cosh": cmath.sinh,
    "tanh": lambda at: 1 / cmath.cosh(at) ** 2,
}


def same_polynomial(answer: str, entry: Entry) -> bool:
    """The expanded polynomial, its terms in any order."""
    return bool(algebra(answer) == algebra(entry["answer"]))


def antiderivative(answer: str, entry: Entry) -> bool:
    """A function whose derivative is the integrand. sympy proves it, which may hang, so workers must be killable.

    Beside the variable it may have one letter, the constant of integration: `x**2 + X**3 + C` says two things.
    """
    import sympy

    name, integrand = entry["metadata"]["variable"], entry["metadata"]["integrand"]
    tree, right = syntax(answer), syntax(integrand)
    letters = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and len(node.id) == 1} - {name, "E"}
    if len(letters) > 1 or name.swapcase() in letters:
        return False
    if any(_differs(tree, right, name, place) for place in POINTS):
        return False
    derivative = sympy.diff(_built(tree), sympy.Symbol(name))
    return bool(sympy.simplify(derivative - _built(right)) == 0)


def _differs(tree: ast.expr, integrand: ast.expr, name: str, place: float) -> bool:
    """Whether the derivative is another than the integrand at a place; not where one has no value there."""
    try:
        derivative, (right, _) = _value(tree, name, place)[1], _value(integrand, name, place)
        return not abs(derivative - right) <= TOLERANCE * max(abs(right), 1e-9)  # nan is neither
    except (ZeroDivisionError, ValueError):
        return False
    except OverflowError:
        return True  # it has a value, and one beyond any integrand's


def _value(node: ast.expr, name: str, place: float) -> Dual:
    """The value and derivative of an expression of the grammar at `name` = `place`."""
    match node:
        case ast.Constant(value=int() | float() as constant):
            return complex(constant), 0
        case ast.Name(id="pi"):
            return cmath.pi, 0
        case ast.Name(id="E"):
            return cmath.e, 0
        case ast.Name(id=letter) if len(letter) == 1:
            return (place, 1) if letter == name else (0.5772156 + ord(letter) / 64, 0)
        case ast.UnaryOp(op=op, operand=operand):
            value, slope = _value(operand, name, place)
            return (-value, -slope) if isinstance(op, ast.USub) else (value, slope)
        case ast.Call(func=ast.Name(id=function), args=[argument], keywords=[]) if function in FUNCTIONS:
            value, slope = _value(argument, name, place)
            return getattr(cmath, function)(value), DERIVATIVES[function](value) * slope
        case ast.BinOp(op=op, left=left, right=right):
            return _combined(op, _value(left, name, place), _value(right, name, place))
    raise ValueError("not of the grammar")


def _combined(op: ast.operator, left: Dual, right: Dual) -> Dual:
    (first, slope), (second, other) = left, right
    match op:
        case ast.Add():
            return first + second, slope + other
        case ast.Sub():
            return first - second, slope - other
        case ast.Mult():
            return first * second, slope * second + first * other
        case ast.Div():
            return first / second, (slope * second - first * other) / second**2
    power = first**second
    growth = second * first ** (second - 1) * slope if slope else 0
    return power, growth + (power * cmath.log(first) * other if other else 0)


def algebra(text: str) -> Any:
    """A sympy expression of what `syntax` takes."""
    return _built(syntax(text))


def syntax(text: str) -> ast.expr:
    """The syntax tree of an expression; `_value` and `_built` accept only the grammar.

    That is numbers, one-letter variables, pi, + - * / ** and `FUNCTIONS`. Nothing is ever evaluated. Raises ValueError
    for a text that Python's parser does not take, that has a comment, or too many parts.
    """
    if "#" in text:
        raise ValueError("a comment")
    try:
        tree = ast.parse(text.strip().replace("^", "**"), mode="eval").body
    except (SyntaxError, MemoryError, RecursionError):
        raise ValueError("no expression") from None
    if sum(1 for _ in ast.walk(tree)) > MAX_NODES:
        raise ValueError(f"an expression of more than {MAX_NODES} parts")
    return tree


def _built(node: ast.expr) -> Any:
    import sympy

    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return sympy.Rational(str(value)) if isinstance(value, float) else sympy.Integer(value)
        case ast.Name(id="E"):
            return sympy.E
        case ast.Name(id=name) if len(name) == 1 and name.isalpha():
            return sympy.Symbol(name)
        case ast.Name(id="pi"):
            return sympy.pi
        case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=operand):
            return -_built(operand) if isinstance(node.op, ast.USub) else _built(operand)
        case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]) if name in FUNCTIONS:
            return getattr(sympy, name)(_built(argument))
        case ast.BinOp(op=ast.Pow(), left=left, right=right):
            exponent = _built(right)
            if exponent.is_number and abs(exponent) > LARGEST_EXPONENT:
                raise ValueError(f"an exponent above {LARGEST_EXPONENT}")
            base = _built(left)
            if base.is_Rational and exponent.is_number and max(_digits(base.p), _digits(base.q)) > MOST_DIGITS:
                raise ValueError(f"a power of a number of more than {MOST_DIGITS} digits")
            return base**exponent
        case ast.BinOp(op=ast.Add(), left=left, right=right):
            return _built(left) + _built(right)
        case ast.BinOp(op=ast.Sub(), left=left, right=right):
            return _built(left) - _built(right)
        case ast.BinOp(op=ast.Mult(), left=left, right=right):
            return _built(left) * _built(right)
        case ast.BinOp(op=ast.Div(), left=left, right=right):
            return _built(left) / _built(right)
    raise ValueError(f"{ast.unparse(node)[:20]!r} is not allowed")


def _digits(number: int) -> int:
    return abs(number).bit_length() // 3
