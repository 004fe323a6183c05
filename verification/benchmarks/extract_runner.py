"""An extractor without network: a vendor's document, shaped, held against its contract and written as Parquet."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from jobkit import contract, extract


def main(package: str, dataset: str, partitions: str, *files: str) -> None:
    """Do it for each file; `partitions` are those it fills, joined by commas."""
    rules = extract.contract(package, dataset)
    shape = importlib.import_module(f"{package}.shape").shape
    for file in files:
        ask = extract.Ask(dataset, tuple(partitions.split(",")), "")
        for columns in shape(Path(file).read_bytes(), ask).values():
            contract.parquet(contract.validate(rules, columns).table)


if __name__ == "__main__":
    main(*sys.argv[1:])
