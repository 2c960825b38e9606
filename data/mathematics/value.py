r"""An answer must be a value where the gold answer is one: an unevaluated expression does not score.

- Where the gold answer is a plain number (`5050`, `\frac{1}{3}`, `50\%`), so must the answer be: digits, a fraction of
  two numbers, a mixed number, a decimal, a power of ten with a factor, words (`twenty-one`). `\frac{2}{4}` is a value
  for 0.5. `\binom{8}{4}`, `12 \cdot 12`, `3!`, `2^{10}`, `\sqrt{16}` and `75 - 5` still pose a problem, and so are
  wrong; with their result behind them (`75 - 5 = 70`) they are right. `data.mathematics.numbers.plain` decides it.
- Where the gold answer is a closed form without variables (`\frac{\sqrt{2}}{2}`, `\frac{\pi}{4}`, `2^{1999}`), the
  answer may be any arithmetic of numbers, roots, powers, pi and e: `\frac{1}{\sqrt{2}}` is right. It may use functions
  (`\sin`, `\ln`, `n!`, binomials) only where the gold answer uses one too: `\sin 45^\circ` is wrong, `\ln 4` is right
  for `2\ln 2`.
- Where the gold answer has variables, the answer may use functions freely: `\binom{n+1}{2}` is right.
- A sum, product, integral, limit, derivative, maximum, rounding, divisor or determinant is right only where the gold
  answer has one of the same kind.

So `5040` is right for the gold answer `7!`, but not the other way round.
"""

import re

PENDING = re.compile(
    r"\\(sum|prod|i{0,3}nt|oint|lim(?:sup|inf)?|max|min|sup|inf|gcd|lcm|det|bmod|pmod|mod|[lr]floor|[lr]ceil|partial)"
    r"(?![a-zA-Z])|\\frac\s*\{\s*(d)(?:\s*\^\s*\{?\d\}?)?\s*[a-z]?\s*\}\s*\{\s*d\s*[a-z]|\\text\{\s*(lcm|gcd|max|min|det|mod|floor|ceil|round)\s*\}"
    r"|(matrix)\}\s*\^|(?<![a-zA-Z\\])(lcm|gcd|max|min|floor|ceil|mod|sum|det)(?![a-zA-Z])"
)
FUNCTIONS = re.compile(
    r"\\(?:arc|ar)?(?:sin|cos|tan|cot|sec|csc)h?(?![a-zA-Z])|\\(?:log|ln|lg|exp|Gamma|zeta|binom|choose)(?![a-zA-Z])|!"
    r"|(?<![a-zA-Z\\])[A-Z]\s*\(\s*\d+\s*,\s*\d+\s*\)"
)
COMMAND = re.compile(r"\\(?!(?:theta|alpha|beta|gamma|phi|lambda|mu|sigma|omega)(?![a-zA-Z]))[a-zA-Z]+")
VARIABLE = re.compile(r"[a-df-hj-zA-Z]")  # e and i are numbers
SAME = {"rfloor": "lfloor", "rceil": "lceil", "bmod": "mod", "pmod": "mod", "floor": "lfloor", "ceil": "lceil"}


def is_value(answer: str, gold: str) -> bool:
    """Whether a tidy formula is evaluated as far as its gold answer."""
    if pending(answer) - pending(gold):
        return False
    varies = VARIABLE.search(COMMAND.sub("", gold))
    return bool(varies or FUNCTIONS.search(gold) or not FUNCTIONS.search(answer))


def pending(formula: str) -> set[str]:
    """The operators in a tidy formula that remain to be evaluated."""
    names = (next(name for name in groups if name) for groups in PENDING.findall(formula))
    return {SAME.get(name, name) for name in names}
