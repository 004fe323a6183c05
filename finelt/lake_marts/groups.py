"""Divide the securities into groups that can be built alone. Pure.

All rows of a security are needed at once. A security may have had several tickers, and a ticker several securities: what is linked stays
together. Prices share nothing else, so machines exchange no rows, however many there are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def group_tickers(owners: Iterable[tuple[str, str]], size: int) -> Iterator[list[str]]:
    """Yield groups of about `size` tickers, in the order of the alphabet, so that a group's prices are in few files.

    `owners` are pairs of ticker and security. A group is larger if more tickers than `size` are linked.
    """
    group: list[str] = []
    for linked in _link(owners):
        if group and len(group) + len(linked) > size:
            yield sorted(group)
            group = []
        group += linked
    if group:
        yield sorted(group)


def _link(owners: Iterable[tuple[str, str]]) -> list[list[str]]:
    """Return the tickers that share securities, directly or through others, ordered by the first of each."""
    import networkx as nx  # noqa: PLC0415  slow

    graph = nx.Graph((("ticker", ticker), ("security", security)) for ticker, security in owners)
    return sorted(sorted(name for kind, name in linked if kind == "ticker") for linked in nx.connected_components(graph))
