"""Check and time the whole decode path on a GPU, in one call under ten minutes, on a bare machine.

    python scripts/gpu_step.py --json gpu_step.json
    TRITON_INTERPRET=1 python scripts/gpu_step.py --device cpu --json /tmp/dry.json     (what a CPU can exercise)

It needs torch 2.11 or newer, triton and transformers, and this repository; weights are random, from configurations.
LoRA alone needs peft beside: `pip install --no-deps --target carried peft accelerate psutil`, then PYTHONPATH=carried:.
Without peft, only its cells are left out, and the table says so. vLLM is timed beside our calls where it is installed.
After each part the file is written anew, so a call that is cut off has shown what it had. Parts, most telling first:
`card` (copy bandwidth, product rate), `kernels` (each against float64, outputs poisoned), `graphs` (replayed steps and
prefills equal eager ones, token by token), `steps` (medians by model, rows, context, weights and path) between which
`calls` come (whole calls). The exit code is 0 if every kernel and graph was right, 1 if one was not, 2 without a
device.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from data.terminal import CommandLine


def main() -> int:
    """Run the command line; the exit code."""
    parser = CommandLine(__doc__)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"), help="cpu is a dry run")
    parser.add_argument("--json", type=Path, default=Path("gpu_step.json"), help="every figure")
    parser.add_argument("--minutes", type=float, default=9.3, help="no case is started after these")
    arguments = parser.parse_args()
    import torch

    from train.rollout.triton_kernels import runnable

    device = torch.device(arguments.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("gpu-step: no CUDA device on this machine; `--device cpu` with TRITON_INTERPRET=1 is a dry run.")
        return 2
    if not runnable(device):
        print("gpu-step: the Triton kernels do not run here; install triton, or set TRITON_INTERPRET=1 on a CPU.")
        return 2
    if not arguments.json.parent.is_dir():
        print(f"gpu-step: --json is {arguments.json}, but there is no folder {arguments.json.parent}; make it first.")
        return 2
    from gpu_steps.clock import Clock, card  # with triton and transformers, which the refusals do without
    from gpu_steps.parts import Report, check, measure
    from gpu_steps.table import call_table, step_table

    clock, report = Clock(device, 60 * arguments.minutes), Report(arguments.json)
    if not clock.on_card:
        from train.rollout.paged.compiled import layers as compiled_layers

        compiled_layers.BACKEND = "eager"  # a dry run need not wait for a compiler
    report.save("card", card(clock))
    check(report, clock)
    measure(report, clock)
    print(step_table(report.parts["steps"], report.parts["left_out"]))
    print(call_table(report.parts["calls"]))
    return 0 if report.right else 1


if __name__ == "__main__":
    sys.exit(main())
