"""Find circles in a directed graph, in time linear in its nodes and edges.

Only circles through few nodes are told to people: for each strongly connected component a circle
that is the shortest one, or, in a large component, the shortest one through some of its nodes.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from streamproof_harness.history.codes import Array, Ints

_STEPS: Final = 20_000
"""Edges that are followed in a component, beyond a few times those it has, to find a shorter circle."""


@dataclass(frozen=True, slots=True)
class Edges:
    """Edges of a graph. `kind` and the two witnesses say where each came from."""

    source: Ints
    target: Ints
    kind: Array
    witness: Ints
    other: Ints

    def __len__(self) -> int:
        return len(self.source)

    def of(self, chosen: Array) -> "Edges":
        """Some of them."""
        columns = self.source, self.target, self.kind, self.witness, self.other
        return Edges(*(column[chosen] for column in columns))


def edges_of(source: Ints, target: Ints, kind: int, witness: Ints, other: Ints) -> Edges:
    """Edges of one kind: each pair of nodes once, with its first witnesses; none to itself."""
    apart = np.flatnonzero(source != target)
    source, target, witness, other = source[apart], target[apart], witness[apart], other[apart]
    pair = source * (int(target.max(initial=0)) + 1) + target
    order = np.argsort(pair, kind="stable")
    once = order[np.flatnonzero(np.diff(pair[order], prepend=-1))]
    return Edges(source[once], target[once], np.full(len(once), kind), witness[once], other[once])


def joined(*parts: Edges) -> Edges:
    """All edges together."""
    columns = ("source", "target", "kind", "witness", "other")
    return Edges(*(np.concatenate([getattr(part, name) for part in parts]) for name in columns))


@dataclass(frozen=True, slots=True)
class Circle:
    """A short circle, as rows of the edges in their order, and the component that it lies in."""

    rows: list[int]
    component: list[int]


def circles(edges: Edges, rank: Ints, is_open: Array) -> list[Circle]:
    """One circle for each component among the nodes that `is_open` names.

    `rank`: any ranking of the nodes; the better it fits the edges, the less there is to search.
    """
    kept = np.flatnonzero(is_open[edges.source] & is_open[edges.target])
    kept = kept[_may_be_on_circles(edges.source[kept], edges.target[kept], rank)]
    nodes = np.unique(np.concatenate([edges.source[kept], edges.target[kept]]))
    source, target = (np.searchsorted(nodes, ends[kept]) for ends in (edges.source, edges.target))
    found = []
    for component, rows in _rows_within(components(len(nodes), source, target), source, target):
        circle = shortest_circle(rows, source, target)
        found.append(Circle(kept[circle].tolist(), nodes[component].tolist()))
    return sorted(found, key=lambda circle: (len(circle.rows), circle.rows))


def _rows_within(found: list[list[int]], source: Ints, target: Ints) -> Iterator[tuple[list[int], Ints]]:
    """Each component with the edges inside it."""
    number = np.full(int(max(source.max(initial=0), target.max(initial=0))) + 1, -1, np.int64)
    for at, component in enumerate(found):
        number[component] = at
    inside = np.flatnonzero((number[source] == number[target]) & (number[source] >= 0))
    inside = inside[np.argsort(number[source[inside]], kind="stable")]
    starts = np.searchsorted(number[source[inside]], np.arange(len(found) + 1))
    for at, component in enumerate(found):
        yield component, inside[starts[at] : starts[at + 1]]


def _may_be_on_circles(source: Ints, target: Ints, rank: Ints) -> Array:
    """Which edges can lie on a circle at all.

    A circle must go back somewhere, and between its lowest and its highest rank there is no place
    that it does not cross backwards: it lies within the spans of the edges that go back.
    """
    place = np.empty(len(rank), np.int64)
    place[np.argsort(rank, kind="stable")] = np.arange(len(rank))
    low, high = place[target], place[source]
    back = low < high
    count = len(rank) + 1
    depth = np.bincount(low[back], minlength=count) - np.bincount(high[back] + 1, minlength=count)
    is_inside = np.cumsum(depth) > 0
    answer: Array = is_inside[low] & is_inside[high]
    return answer


def components(count: int, source: Ints, target: Ints) -> list[list[int]]:
    """The strongly connected components of more than one node, by Tarjan's algorithm, without recursion."""
    order = np.argsort(source, kind="stable")
    follows = target[order].tolist()
    starts = np.searchsorted(source[order], np.arange(count + 1)).tolist()
    number = [0] * count  # 0: not yet visited
    low = [0] * count
    is_open = [False] * count
    following = list(starts)
    found: list[list[int]] = []
    stack: list[int] = []
    visited = 0
    for root in range(count):
        path = [] if number[root] else [root]
        while path:
            node = path[-1]
            if not number[node]:
                visited += 1
                number[node] = low[node] = visited
                stack.append(node)
                is_open[node] = True
            lowest, at, stop = low[node], following[node], starts[node + 1]
            while at < stop:
                successor = follows[at]
                if not number[successor]:
                    break
                if is_open[successor] and low[successor] < lowest:
                    lowest = low[successor]
                at += 1
            low[node], following[node] = lowest, at
            if at < stop:
                path.append(follows[at])
                continue
            path.pop()
            if lowest == number[node]:
                found += _closed(stack, is_open, node)
    return found


def _closed(stack: list[int], is_open: list[bool], node: int) -> list[list[int]]:
    """Take a component off the stack; it is worth telling if it has more than one node."""
    component = []
    while True:
        component.append(stack.pop())
        is_open[component[-1]] = False
        if component[-1] == node:
            return [component] if len(component) > 1 else []


def shortest_circle(rows: Ints, source: Ints, target: Ints) -> list[int]:
    """The edges of a short circle, in their order. `rows`: those within one component."""
    leaving: dict[int, list[tuple[int, int]]] = {}
    for row, node, following in zip(rows.tolist(), source[rows].tolist(), target[rows].tolist(), strict=True):
        leaving.setdefault(node, []).append((following, row))
    best: list[int] = []
    budget = 4 * len(rows) + _STEPS
    for start in _starts(leaving):
        circle, steps = _circle_through(start, leaving, len(best) or len(leaving) + 1)
        best = circle or best
        budget -= steps
        if len(best) == 2 or budget < 0:
            break
    return best


def _starts(leaving: dict[int, list[tuple[int, int]]]) -> Iterator[int]:
    """Where to begin: with a node that lies on a circle of two, if there is any."""
    targets = {source: {target for target, _ in edges} for source, edges in leaving.items()}
    for source, following in targets.items():
        if any(source in targets[target] for target in following):
            yield source
            return
    yield from sorted(leaving)


def _circle_through(
    start: int, leaving: dict[int, list[tuple[int, int]]], limit: int
) -> tuple[list[int], int]:
    """The shortest way from a node back to itself, if it has fewer than `limit` edges, and how many
    edges were followed to find it (breadth first)."""
    steps = 0
    came_by: dict[int, tuple[int, int]] = {}
    far = {start: 0}
    waiting = deque([start])
    while waiting:
        node = waiting.popleft()
        if far[node] + 1 >= limit:
            break
        for target, row in leaving[node]:
            steps += 1
            if target == start:
                circle = [row]
                while node != start:
                    node, row = came_by[node]
                    circle.append(row)
                return circle[::-1], steps
            if target not in far:
                far[target] = far[node] + 1
                came_by[target] = node, row
                waiting.append(target)
    return [], steps
