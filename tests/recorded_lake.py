"""A warehouse made from vendors' answers as jobs make it: shape, contract, lake, load, transform; no network."""

from __future__ import annotations

import importlib
import json
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg
from extract_openfigi_identifiers.source import to_partition
from jobkit import contracts
from jobkit.contracts import load_packaged
from jobkit.lake import CommitDraft, SourceMetadata
from jobkit.requests import Request

from tests import forks
from tests.fixtures_postgres import Warehouse
from tests.warehouse.samples import load

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from jobkit.lake import Commit, Lake
    from jobkit.receipt import Receipt

    from orchestration.local.postgres import Postgres


class Answer(NamedTuple):
    """What a vendor sent: the extractor that asks for it, the partitions it fills, the bytes."""

    package: str
    dataset: str
    partitions: tuple[str, ...]
    body: bytes


def commit(lake: Lake, answer: Answer) -> list[tuple[Commit, bool]]:
    """What the extractor commits of an answer. Raises BadDataError where it would."""
    rules = load_packaged(answer.package, answer.dataset)
    shaped = importlib.import_module(f"{answer.package}.parser").parse(answer.body, Request(answer.dataset, answer.partitions, "/"))
    kept = lake.store_source(answer.dataset, answer.body, SourceMetadata("https://vendor.example/", "text/plain", None, None))
    made = []
    for partition, columns in shaped.items():
        good = contracts.validate(rules, columns)
        draft = CommitDraft(
            contracts.to_parquet(good.table),
            good.table.num_rows,
            contracts.to_parquet(good.quarantine) if good.quarantine else None,
            good.quarantine.num_rows if good.quarantine else 0,
            lambda: (kept,),
            rules.key,
            rules.leaf,
            {"job": "test", "version": "0"},
            good.dropped,
        )
        made.append(lake.commit(answer.dataset, partition, draft))
    return made


def tiingo(ticker: str, prices: list[dict[str, Any]]) -> Answer:
    """Tiingo's answer for a ticker."""
    years = sorted({str(price["date"])[:4] for price in prices})
    partitions = tuple(f"ticker={ticker}/year={year}" for year in years)
    return Answer("extract_tiingo_prices", "tiingo_prices", partitions, json.dumps(prices).encode())


def massive(day: str, rows: list[dict[str, Any]]) -> Answer:
    """Massive's answer for a day."""
    head = {"queryCount": len(rows), "resultsCount": len(rows), "adjusted": False}
    body = json.dumps({**head, **({"results": rows} if rows else {}), "status": "OK"})
    return Answer("extract_massive_daily_prices", "massive_daily_prices", (f"date={day}",), body.encode())


def treasury(year: str, body: str) -> Answer:
    """The Treasury's file of a year."""
    return Answer("extract_treasury_yields", "treasury_par_yields", (f"year={year}",), body.encode())


def ecb(body: bytes, first: int, last: int) -> Answer:
    """The ECB's history."""
    return Answer("extract_ecb_fx_rates", "ecb_fx_rates", tuple(f"year={year}" for year in range(first, last + 1)), body)


def facts(cik: int, body: bytes) -> Answer:
    """A company's reported facts."""
    return Answer("extract_sec_company_facts", "sec_company_facts", (f"cik={cik:010}",), body)


def filers(body: bytes) -> Answer:
    """The list of filers."""
    return Answer("extract_sec_filers", "sec_filers", ("file=company_tickers",), body)


def fred(dataset: str, partition: str, body: bytes) -> Answer:
    """FRED's answer about a series or a release."""
    return Answer("extract_fred_series", dataset, (partition,), body)


def nyfed(rate: str, year: int, body: str) -> Answer:
    """The New York Fed's answer about a rate and a year."""
    dataset = "nyfed_sofr_averages" if rate == "sofrai" else "nyfed_rates"
    return Answer("extract_nyfed_rates", dataset, (f"rate={rate}/year={year}",), body.encode())


def fiscaldata(dataset: str, year: int, body: str) -> Answer:
    """FiscalData's answer about a year."""
    return Answer("extract_fiscaldata_debt", dataset, (f"year={year}",), body.encode())


def sdmx(series: str, year: int, body: str) -> Answer:
    """The ECB's SDMX answer about a series and a year."""
    return Answer("extract_sdmx_series", "sdmx_observations", (f"agency=ECB/series={series}/year={year}",), body.encode())


def gleif(dataset: str, file: str, number: int, body: bytes) -> Answer:
    """A part of a file of the golden copy, such as content=20250304T000000Z/file=full."""
    return Answer("extract_gleif_entities", dataset, (f"{file}/part={number:04}",), body)


def gleif_file(dataset: str, file: str, header: bytes) -> Answer:
    """The header of a file of which all parts were read."""
    return Answer("extract_gleif_entities", "gleif_files", (f"dataset={dataset}/{file}",), header)


def openfigi(questions: list[dict[str, str]], answers: list[dict[str, Any]]) -> Answer:
    """OpenFIGI's answers to some questions, as the extractor stores them."""
    partitions = tuple(map(to_partition, questions))
    return Answer("extract_openfigi_identifiers", "openfigi_mappings", partitions, json.dumps([questions, answers]).encode())


def gleif_isin(isin: str, body: bytes) -> Answer:
    """GLEIF's answer about an ISIN."""
    return Answer("extract_gleif_isins", "gleif_isins", (f"isin={isin}",), body)


def filing_lists(cik: int, body: bytes) -> Answer:
    """All lists of a filer's filings."""
    return Answer("extract_sec_filings", "sec_filings", (f"cik={cik:010}",), body)


def holdings(cik: int, accession: str, body: bytes) -> Answer:
    """A filing of Form 13F."""
    return Answer("extract_sec_13f_holdings", "sec_13f_holdings", (f"cik={cik:010}/accession={accession}",), body)


def insiders(accession: str, body: bytes) -> Answer:
    """A filing of Form 3, 4 or 5."""
    return Answer("extract_sec_insider_transactions", "sec_insider_entries", (f"accession={accession}",), body)


def transform(warehouse: Warehouse, *more: str) -> Receipt:
    """The receipt of transform-warehouse."""
    words = ["run", "--warehouse", warehouse.url, "--warehouse-password", warehouse.password_reference, *more]
    receipt: Receipt = json.loads(forks.run([sys.executable, "-m", "transform_warehouse", *words]).stdout)
    assert receipt["exit_code"] == 0, receipt["error"]
    return receipt


def build(server: Postgres, name: str, lake: Lake, answers: Iterable[Answer], *more: str) -> Warehouse:
    """A database of this name with the answers loaded and transformed with these options."""
    with psycopg.connect(server.url, password=server.password, autocommit=True) as admin:
        admin.execute(f"create database {name}".encode())
    made = Warehouse(server.url.replace("/warehouse", f"/{name}"), server.password, server.password_reference)
    for answer in answers:
        commit(lake, answer)
    load(lake_path(lake), made)
    transform(made, *more)
    return made


def lake_path(lake: Lake) -> Path | str:
    """The lake's directory."""
    return str(lake.store.url).removeprefix("file://")
