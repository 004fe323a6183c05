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
    parents: dict[str, str] = {}

    def find_root(name: str) -> str:
        while parents.setdefault(name, name) != name:
            parents[name] = name = parents[parents[name]]
        return name

    tickers = set()
    for ticker, security in owners:
        tickers.add(ticker)
        parents[find_root(f"ticker {ticker}")] = find_root(f"security {security}")
    linked: dict[str, list[str]] = {}
    for ticker in sorted(tickers):
        linked.setdefault(find_root(f"ticker {ticker}"), []).append(ticker)
    return list(linked.values())
