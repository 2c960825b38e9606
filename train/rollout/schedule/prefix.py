"""The tree of prompt prefixes: full blocks of prompt tokens that more than one rollout reads are computed once."""

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(slots=True, eq=False)
class PrefixNode:
    """One full block of prompt tokens under a fixed prefix.

    `users` counts the rollouts of this run whose prompt passes here. `block` is its place in the pool while somebody
    holds it, else -1; `ready` says that its keys and values are written, or are in the pass being put together.
    """

    users: int = 0
    block: int = -1
    ready: bool = False
    children: dict[tuple[int, ...], "PrefixNode"] = field(default_factory=dict)


class PrefixTree:
    """Prefix nodes of all prompts of one run."""

    def __init__(self, block_size: int) -> None:
        self._block_size = block_size
        self._root = PrefixNode()

    def add(self, prompt: Sequence[int], samples: int) -> list[PrefixNode]:
        """The nodes of `prompt`'s full blocks, after counting `samples` rollouts as users of each.

        The last token of a prompt is never in a node: its logits are wanted, so it is always computed.
        """
        node, path = self._root, []
        for start in range(0, (len(prompt) - 1) // self._block_size * self._block_size, self._block_size):
            tokens = tuple(prompt[start : start + self._block_size])
            node = node.children.setdefault(tokens, PrefixNode())
            node.users += samples
            path.append(node)
        return path

    def remove(self, prompt: Sequence[int], samples: int) -> None:
        """Count `samples` rollouts of `prompt` out again, and forget the nodes that nobody uses."""
        node = self._root
        for start in range(0, (len(prompt) - 1) // self._block_size * self._block_size, self._block_size):
            tokens = tuple(prompt[start : start + self._block_size])
            child = node.children[tokens]
            child.users -= samples
            if not child.users:
                del node.children[tokens]  # and with it all below, whose users are among its own
                return
            node = child


def shared_path(path: Sequence[PrefixNode]) -> list[PrefixNode]:
    """The leading nodes that more than one rollout uses; what follows belongs to a row alone."""
    return [node for node in path if node.users > 1]
