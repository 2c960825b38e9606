"""Every message of a full disk is known, in whichever words it comes, and nothing else is taken for one."""

import errno
import resource
import signal
import sys

import pytest
import torch
from safetensors.torch import save_file

from train.lifecycle.resume import CheckpointError, full_disk_named, writing_failed

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no limits of file size")


@pytest.mark.parametrize("size", [0, 100, 5_000, 40_000, 399_000])
@pytest.mark.parametrize("numbers", [3, 100_000])
def test_torch_and_safetensors_say_it_in_ways_that_are_known(tmp_path, size, numbers):
    tensors = {"a": torch.zeros(numbers)}
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    errors = []
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        for save in (torch.save, save_file):
            try:
                save(tensors, tmp_path / save.__name__)
            except Exception as error:
                errors.append(error)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert errors or numbers == 3
    for error in errors:
        assert writing_failed(error), f"{type(error).__name__}: {error}"


@pytest.mark.parametrize(
    "message",
    [
        "[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534",
        "basic_ios::clear: iostream error",
        "PytorchStreamWriter failed writing file data/0: file write failed",
        "Error while serializing: I/O error: No space left on device (os error 28)",
    ],
)
def test_a_run_that_meets_it_says_what_is_left(tmp_path, message):
    says = pytest.raises(CheckpointError, match=r"could not be written: .*No checkpoint was written before it")
    with says, full_disk_named(tmp_path):
        raise RuntimeError(message)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("PytorchStreamReader failed reading zip archive: failed finding central directory"),
        RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)"),
        OSError(errno.ENOENT, "No such file or directory"),
    ],
)
def test_another_error_stays_what_it_is(tmp_path, error):
    assert not writing_failed(error)
    with pytest.raises(type(error)) as caught, full_disk_named(tmp_path):
        raise error
    assert caught.value is error
