"""The tables of the measurements, one line each."""

from typing import Any

GIB = 2**30


def step_table(steps: list[dict[str, Any]], left_out: dict[str, str]) -> str:
    """A line a step, and one for weights that were left out, with the reason.

    `share` is of the floor, which is the time that the bytes of a step take at the copy bandwidth.
    """
    lines = [
        f"{'model':14} {'rows':>5} {'context':>7}  {'weights':8}  {'path':13} {'ms':>8} {'floor':>8} {'share':>6} "
        f"{'launches':>8} {'tokens/s':>9} {'GiB':>6}  forward"
    ]
    for s in steps:
        head = f"{s['model']:14} {s['rows']:5} {s['context']:7}  {s['weights']:8}  {s['path']:13}"
        if "error" in s:
            lines.append(f"{head} {s['error']}")
            continue
        launches = "" if s["launches"] is None else s["launches"]
        lines.append(
            f"{head} {s['ms']:8.2f} {s['floor_ms']:8.2f} {s['share_of_floor']:6.0%} {launches:>8} "
            f"{s['tokens_per_second']:9.0f} {s['peak_bytes'] / GIB:6.1f}  {s['forward']}"
        )
    lines += [f"weights {weights} left out: {reason}" for weights, reason in left_out.items()]
    return "\n".join(lines)


def call_table(calls: list[dict[str, Any]]) -> str:
    """A line a whole call, ours and vLLM's."""
    lines = [
        f"{'model':14} {'rollouts':>8} {'tokens':>6}  {'weights':8}  {'path':13} {'seconds':>8} {'tokens/s':>9} "
        f"{'mean gap':>9} {'largest':>9} {'GiB':>6}"
    ]
    for c in calls:
        if not c.keys() >= {"model", "seconds"}:
            lines.append(f"{c.get('model', ''):14} {c.get('path', ''):8} {c.get('error', c.get('skipped', ''))}")
            continue
        gaps = f"{c['mean_gap']:9.1e} {c['largest_gap']:9.1e} {c['peak_bytes'] / GIB:6.1f}" if "mean_gap" in c else ""
        lines.append(
            f"{c['model']:14} {c['rollouts']:8} {c['tokens']:6}  {c.get('weights', 'bf16'):8}  {c['path']:13} "
            f"{c['seconds']:8.2f} {c['tokens_per_second']:9.0f} {gaps}"
        )
    return "\n".join(lines)
