"""The source itself: nothing in it hands text to an interpreter or a shell, unpickles, or runs code from elsewhere."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted(path for room in ("data", "train", "eval", "scripts", "tests") for path in (ROOT / room).rglob("*.py"))
CONFIGS = [*(ROOT / "configs").rglob("*.yaml"), ROOT / "Makefile", ROOT / "pyproject.toml", *(ROOT / ".ci").iterdir()]
UNPICKLERS = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
CALLS = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "yaml.load", "yaml.unsafe_load"}
TRUE = {"shell", "trust_remote_code", "allow_pickle"}  # keywords that must never be true


def faults_of(source: str) -> list[str]:
    """What is dangerous in a Python source, with its line."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            found += [f"{node.lineno}: imports {name}" for name in names if name.split(".")[0] in UNPICKLERS]
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        given = {keyword.arg: keyword.value for keyword in node.keywords}
        if called in CALLS:
            found.append(f"{node.lineno}: calls {called}")
        for name in TRUE & given.keys():
            if not (isinstance(given[name], ast.Constant) and given[name].value is False):
                found.append(f"{node.lineno}: {name}={ast.unparse(given[name])}")
        only = given.get("weights_only")
        if called == "torch.load" and not (isinstance(only, ast.Constant) and only.value is True):
            found.append(f"{node.lineno}: torch.load without weights_only=True")
        unsafe = given.get("use_safetensors")
        if unsafe is not None and not (isinstance(unsafe, ast.Constant) and unsafe.value is True):
            found.append(f"{node.lineno}: use_safetensors is not True")
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_source_runs_what_it_reads(path):
    assert faults_of(path.read_text()) == []


def test_no_configuration_trusts_code_from_elsewhere():
    for path in CONFIGS:
        for line in path.read_text().splitlines():
            assert "trust_remote_code" not in line and "allow_pickle" not in line, (path, line)


@pytest.mark.parametrize(
    "source",
    [
        "eval('1')",
        "exec(text)",
        "import pickle",
        "from pickle import loads",
        "import a, dill.source",
        "subprocess.run('ls', shell=True)",
        "subprocess.run('ls', shell=flag)",
        "os.system('ls')",
        "load(x, trust_remote_code=True)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "yaml.load(text, Loader=yaml.Loader)",
        "np.load(path, allow_pickle=True)",
        "compile(text, '', 'exec')",
        "from_pretrained(x, use_safetensors=False)",
    ],
)
def test_the_search_finds_what_it_is_for(source):
    assert faults_of(source)


def test_the_scan_lets_harmless_lookalikes_pass():
    assert faults_of("model.eval()\nast.parse(text, mode='eval')\nre.compile('a')\nf(shell=False)") == []
