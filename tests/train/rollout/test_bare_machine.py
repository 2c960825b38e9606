"""A bare machine has torch, triton and transformers: nothing that the engine imports may want more."""

import ast
from pathlib import Path

import train.rollout

OTHERS = {"vllm.py"}  # a back end beside the engine


def test_no_file_of_the_engine_imports_peft_or_psutil_as_it_is_imported() -> None:
    files = [path for path in Path(train.rollout.__file__).parent.rglob("*.py") if path.name not in OTHERS]
    assert len(files) > 50
    for path in files:
        for node in ast.parse(path.read_text()).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            assert not {name.split(".")[0] for name in names} & {"peft", "psutil"}, path
