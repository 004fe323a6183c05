"""Run an extractor without network: parse a vendor's document, validate it and write Parquet."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from jobkit import contracts
from jobkit.requests import Request


def main(package: str, dataset: str, partitions: str, *files: str) -> None:
    """Extract each file. `partitions` are the partitions that it fills, separated by commas."""
    rules = contracts.load_packaged(package, dataset)
    parse = importlib.import_module(f"{package}.parser").parse
    for file in files:
        request = Request(dataset, tuple(partitions.split(",")), "")
        for columns in parse(Path(file).read_bytes(), request).values():
            contracts.to_parquet(contracts.validate(rules, columns).table)


if __name__ == "__main__":
    main(*sys.argv[1:])
