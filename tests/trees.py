"""Random trees of additions, as refnet's programs, and their parts."""

from __future__ import annotations

import numpy as np

from refnet.arithmetic import Tree
from refnet.arithmetic.tree_nodes import Program, add, chain, fuse


def random_tree(seed: int, leaves: int, *, fused: tuple[tuple[str | None, str], ...] = ()) -> Tree:
    """Chains, additions, chains that go on, all over a permutation or in place; `fused`: formats and modes to draw."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(leaves) if rng.random() < 0.5 else np.arange(leaves)
    parts: list[Program] = []
    taken = 0
    while taken < leaves or len(parts) > 1:
        kind = rng.random()
        count = int(min(leaves - taken, 1 + rng.geometric(rng.choice([0.1, 0.7]))))
        run = order[taken : taken + count].tolist()
        if run and (not parts or kind < 0.3):
            parts.append(_node(rng, run, (), fused))
        elif run and kind < 0.6:
            parts[-1] = _node(rng, run, parts[-1], fused)
        elif len(parts) > 1:
            place = int(rng.integers(len(parts) - 1))
            parts[place : place + 2] = [add(*parts[place : place + 2])]
            continue
        else:
            continue
        taken += count
    return Tree(parts[0])


def _node(
    rng: np.random.Generator, run: list[int], start: Program, fused: tuple[tuple[str | None, str], ...]
) -> Program:
    if fused and rng.random() < 0.4 and not (start and len(run) == 1):  # one product fused on a value: that is an fma
        format_, mode = fused[rng.integers(len(fused))]
        return fuse(run, start, format_, mode)
    return chain(run, start)
