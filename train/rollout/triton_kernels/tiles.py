"""How the queries of several prompts are dealt out to the programs of one launch."""

import numpy as np

TILE = 32  # queries of one program


def tiles_of(counts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Runs of at most TILE queries of one sequence: (tiles, 4) int32 of sequence, first token, count, position.

    `counts` (sequences,) are the queries of each, the last of which is at `lengths` - 1.
    """
    per = -(-counts // TILE)
    sequence = np.repeat(np.arange(len(counts)), per)
    within = (np.arange(per.sum()) - np.repeat(per.cumsum() - per, per)) * TILE
    first = np.repeat(counts.cumsum() - counts, per) + within
    position = np.repeat(lengths - counts, per) + within
    return np.stack([sequence, first, np.minimum(TILE, np.repeat(counts, per) - within), position], 1).astype(np.int32)
