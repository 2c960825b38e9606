"""Serve a checkpoint: OpenAI's chat completions at /v1, and a page to chat at /.

    python scripts/serve.py runs/quickstart/checkpoints/checkpoint-30
    python scripts/serve.py Qwen/Qwen3-0.6B --port 8001 --no-system
    curl http://localhost:8000/v1/chat/completions -H 'Content-Type: application/json' \\
        -d '{"messages": [{"role": "user", "content": "numbers 2 6 8 target 10"}]}'

Requests join the running batch as they come. Thinking comes back as `reasoning_content` and is counted in
`usage.completion_tokens_details.reasoning_tokens`. There is no password: whoever reaches the port can ask.
"""

import argparse
import sys

from data.paths import user_path
from data.terminal import CommandLine, command, quiet_libraries
from eval.options import add_own_tasks
from eval.serve.listen import DTYPES, Listening, Options


def parse() -> tuple[str, Options, Listening]:
    """The command line."""
    default = Listening()
    parser = CommandLine(__doc__)
    parser.add_argument("checkpoint", help="a checkpoint's folder, a hub id, or smollm2-135m")
    parser.add_argument("--host", default=default.host, help="address to listen at")
    parser.add_argument("--port", type=int, default=default.port, help="0 takes a free one")
    parser.add_argument("--name", default="", help="what requests call the model (default: from its path)")
    parser.add_argument("--max-context", type=int, help="tokens of prompt and completion (default: the model's)")
    parser.add_argument("--max-rows", type=int, default=default.rows, help="answers written at once")
    parser.add_argument("--max-waiting", type=int, default=default.waiting, help="requests that may wait")
    parser.add_argument("--cache-gib", type=float, help="memory for keys and values (default: half of what is free)")
    parser.add_argument("--dtype", choices=DTYPES, default="", help="(default: float32, on a GPU bfloat16)")
    parser.add_argument("--no-system", action="store_true", help="refuse system messages, as o1 did")
    parser.add_argument(
        "--show-thinking", action=argparse.BooleanOptionalAction, default=True, help="send the thinking to clients"
    )
    parser.add_argument(
        "--config", type=user_path, help="the run's config (default: that of the run the checkpoint is in)"
    )
    add_own_tasks(parser)
    arguments = parser.parse_args()
    options = Options(
        name=arguments.name,
        longest=arguments.max_context,
        system=not arguments.no_system,
        show_thinking=arguments.show_thinking,
        dtype=arguments.dtype,
        config=arguments.config,
        own_tasks=arguments.own_tasks,
    )
    limits = (arguments.max_rows, arguments.max_waiting, arguments.cache_gib)
    return arguments.checkpoint, options, Listening(arguments.host, arguments.port, *limits)


@command
def main() -> int:
    """Run the command line; returns the exit code."""
    checkpoint, options, listening = parse()
    quiet_libraries()
    try:
        from eval.serve.server import serve

        serve(checkpoint, options, listening)
    except KeyboardInterrupt:  # Ctrl-C is how it ends
        return 0
    except ImportError as error:  # an extra is not installed
        raise ValueError(str(error)) from None
    return 0


if __name__ == "__main__":
    sys.exit(main())
