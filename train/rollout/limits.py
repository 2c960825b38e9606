"""What a rollout engine may hold and run at once: the one place of these numbers, for engine and planner."""

from dataclasses import dataclass

MAX_ROWS = 256  # rollouts that run at once
MAX_ROWS_ON_CUDA = 1024  # as memory allows: the scheduler admits what the pool is expected to hold
CHUNK_TOKENS = 512  # of prompts, prefilled beside one decode step
IDLE_CHUNK_TOKENS = 4096  # of prompts in one pass on a GPU, while no row waits for its next token
HEADROOM = 1.5  # pages kept for a row, in mean lengths; rows that outgrow them all together are preempted
LARGE_POOL = 0.1  # of a GPU's memory: given back before the loss. Chosen, not measured: graphs are captured anew
SHARE_FOR_SHADOW = 0.5  # of what the engine may hold; where a shadow of the weights takes more, the module is run
SHARE_OF_FREE = 0.5  # of the memory that is free; the rest is for the loss, its activations and the optimiser step


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of an engine's calls.

    `cache_gib` bounds what is held (None: SHARE_OF_FREE of the free memory), `max_rows` the rollouts that run at once,
    `chunk_tokens` the prompt tokens that one step prefills. `page_tokens` asks for pages of that size on any device
    (None: pages on CUDA, a dense cache elsewhere), `cuda_graphs` for steps as replays where there is CUDA.
    `own_kernels` has Triton's kernels and the fused layers run over pages, `merge_adapters` merges LoRA into their
    weights, and `deterministic` makes a rollout the same bit for bit whatever shares its batch. `compile_layers` has
    torch compile the layers that are not fused, and `fuse_layers=False` leaves the fused ones out.
    """

    cache_gib: float | None = None
    max_rows: int = MAX_ROWS
    chunk_tokens: int = CHUNK_TOKENS
    page_tokens: int | None = None
    cuda_graphs: bool = True
    own_kernels: bool = False
    merge_adapters: bool = True
    deterministic: bool = False
    compile_layers: bool = False
    fuse_layers: bool = True

    def __post_init__(self) -> None:
        """Raise ValueError for the first invalid limit."""
        if self.max_rows < 1 or self.chunk_tokens < 1:
            raise ValueError(
                f"max_rows is {self.max_rows} and chunk_tokens is {self.chunk_tokens}; each must be at least 1."
            )
        if self.cache_gib is not None and not self.cache_gib > 0:
            raise ValueError(f"cache_gib is {self.cache_gib}; expected more than 0, or None for half of what is free.")
        if self.page_tokens is not None and self.page_tokens < 1:
            raise ValueError(f"page_tokens is {self.page_tokens}; expected at least 1, or None.")
