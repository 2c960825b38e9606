"""The `rethink` command: `rethink NAME ARGUMENTS` runs what `python scripts/NAME.py ARGUMENTS` runs.

Nothing is imported before a sub-command is known, so help and completion come at once.
"""

import ast
import os
import sys
from pathlib import Path

SHARED = Path(__file__).with_name("options.py")
SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
# In the order in which one would use them; those whose script is not there are left out.
NAMES = (
    "train", "evaluate", "claims", "report", "retained", "serve", "chat", "sweep", "plan", "collect", "watch",
    "publish", "doctor",
)  # fmt: skip
SHELLS = {
    "bash": """_rethink() {
    local words
    words=$(rethink completion words "${COMP_WORDS[@]:1:COMP_CWORD-1}")
    COMPREPLY=($(compgen -W "$words" -- "${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _rethink rethink
""",
    "zsh": """#compdef rethink
_rethink() {
    compadd -- ${(f)"$(rethink completion words "${(@)words[2,CURRENT-1]}")}"
    (( CURRENT > 2 )) && _files
}
compdef _rethink rethink
""",
    "fish": """complete -c rethink -n __fish_use_subcommand -f -a "(rethink completion words)"
complete -c rethink -n "not __fish_use_subcommand" -a "(rethink completion words (commandline -opc)[2])"
""",
}


def main() -> int:
    """Run the command line; returns the exit code."""
    arguments = sys.argv[1:]
    name, rest = (arguments[0], arguments[1:]) if arguments else ("help", [])
    if name in ("help", "-h", "--help"):
        print(usage())
        return 0
    if name == "completion":
        return _completion(rest)
    if name not in commands():
        print(f"error: rethink has no command {name!r}; expected one of: {', '.join(commands())}.", file=sys.stderr)
        return 2
    asks_help = not {"-h", "--help"}.isdisjoint(rest)
    os.execv(sys.executable, [sys.executable, *command(name, launched=not asks_help), *rest])


def commands() -> dict[str, Path]:
    """The files that the sub-commands run, by name."""
    paths = {name: SCRIPTS / f"{name}.py" for name in NAMES} | {"train": SCRIPTS.parent / "train" / "__main__.py"}
    return {name: paths[name] for name in NAMES if paths[name].is_file()}


def command(name: str, *, launched: bool = True) -> list[str]:
    """Python's arguments for a sub-command. Training is launched as `accelerate launch -m train` would launch it."""
    if name == "train":
        return [*(["-m", "accelerate.commands.launch"] if launched else []), "-m", "train"]
    return [str(commands()[name])]


def usage() -> str:
    """Every sub-command with the first line of its own help."""
    lines = [f"  {name:<10}{_summary(path)}" for name, path in commands().items()]
    return "\n".join(
        [
            "usage: rethink COMMAND ARGUMENTS",
            "",
            *lines,
            f"  {'completion':<10} prints the completion for bash, zsh or fish: rethink completion bash >> ~/.bashrc",
            "",
            "rethink COMMAND --help says more. Each is the script of that name in scripts/.",
        ]
    )


def words(before: list[str]) -> list[str]:
    """The words that may follow `before` in a command line: sub-commands, or options."""
    if not before:
        return [*commands(), "completion"]
    if before[0] == "completion":
        return list(SHELLS)
    return _options(commands()[before[0]]) if before[0] in commands() else []


def _completion(arguments: list[str]) -> int:
    if arguments[:1] == ["words"]:
        print("\n".join(words(arguments[1:])))
        return 0
    if len(arguments) != 1 or arguments[0] not in SHELLS:
        print(f"error: rethink completion takes one of: {', '.join(SHELLS)}.", file=sys.stderr)
        return 2
    print(SHELLS[arguments[0]], end="")
    return 0


def _summary(path: Path) -> str:
    """The first sentence of a script's help."""
    if path.name == "__main__.py":
        return "Train a model with RL, after its cold start: --config configs/X.yaml."
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0]


def _options(path: Path) -> list[str]:
    """The options that a script names in its calls of `add_argument`, and those that it takes from `options.py`."""
    if path.name == "__main__.py":
        return ["--config", "--name", "--seed", "--resume", "--overwrite"]
    calls = _calls(ast.parse(path.read_text(encoding="utf-8")))
    shared = {node.name: node for node in ast.parse(SHARED.read_text(encoding="utf-8")).body if hasattr(node, "name")}
    names = [call.func.id for call in calls if isinstance(call.func, ast.Name)]
    calls += [call for name in names if name in shared for call in _calls(shared[name])]
    adders = ("add_argument", "add_settings")
    additions = [call for call in calls if ast.unparse(call.func).rpartition(".")[2] in adders]
    constants = [argument.value for call in additions for argument in call.args if isinstance(argument, ast.Constant)]
    return [value for value in constants if isinstance(value, str) and value.startswith("--")] + ["--help"]


def _calls(tree: ast.AST) -> list[ast.Call]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call)]


if __name__ == "__main__":
    sys.exit(main())
