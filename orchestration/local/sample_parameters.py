"""The parameters of the extract jobs when a person tries the pipeline with the sample vendors."""

from __future__ import annotations

SAMPLE_START, SAMPLE_END = "2009-07-01", "2013-02-28"  # the dates of the sample prices
SAMPLE_MARKET_START = "2012-12-03"  # these prices have a file for each day; three months are enough
TICKERS = ["AAPL", "IBM", "MSFT", "GOOG"]
CIKS = ["320193"]
SAMPLE_RATES: dict[str, object] = {
    "start": "2023-01-03",
    "end": "2026-08-05",
    "rates": ["sofr", "effr", "obfr", "sofrai"],
}  # as far as there are any
SAMPLE_DEBT: dict[str, object] = {"start": "2025-01-02", "end": "2026-01-05", "lookback_days": 0}
SAMPLE_EURO_RATE: dict[str, object] = {"start": "2025-01-02", "end": "2025-01-10", "lookback_days": 0}
SERIES, RELEASES = ["GDP"], ["53"]
ISINS = ["ID_ISIN:US4592001014", "ID_ISIN:DE0006969603"]
CONTACT = "finelt demo demo@example.com"
UNLIMITED_RATE = 1_000_000  # the sample vendors have no rate limit

MANAGER_FILINGS: dict[str, object] = {"managers": ["1619124"], "start": "2021-01-01", "end": "2021-12-31", "contact": CONTACT}
INSIDER_FILINGS: dict[str, object] = {"issuers": ["875320"], "start": "2020-10-01", "end": "2020-12-31", "contact": CONTACT}

Extracts = dict[str, dict[str, object]]


def build_sample_extracts(vendors: str, token: str) -> Extracts:
    """Return the extract jobs and their options for the sample vendors at a URL. `token` is a reference; the vendors take any token."""
    dates = {"start": SAMPLE_START, "end": SAMPLE_END, "lookback_days": 0}
    market = {**dates, "start": SAMPLE_MARKET_START, "requests_per_minute": UNLIMITED_RATE}
    return {
        "extract-ecb-fx-rates": {**dates, "base_url": f"{vendors}/www.ecb.europa.eu"},
        "extract-treasury-yields": {**dates, "base_url": f"{vendors}/home.treasury.gov"},
        "extract-tiingo-prices": {
            **dates,
            "tickers": TICKERS,
            "token": token,
            "requests_per_hour": UNLIMITED_RATE,
            "base_url": f"{vendors}/api.tiingo.com",
        },
        "extract-massive-daily-prices": {**market, "token": token, "base_url": f"{vendors}/api.massive.com"},
        "extract-sec-company-facts": {"ciks": CIKS, "contact": CONTACT, "base_url": f"{vendors}/data.sec.gov"},
        "extract-sec-filers": {"contact": CONTACT, "base_url": f"{vendors}/www.sec.gov"},
        "extract-fred-series": {"series": SERIES, "releases": RELEASES, "token": token, "base_url": f"{vendors}/api.stlouisfed.org"},
        "extract-nyfed-rates": {**SAMPLE_RATES, "lookback_days": 0, "base_url": f"{vendors}/markets.newyorkfed.org"},
        "extract-fiscaldata-debt": {**SAMPLE_DEBT, "base_url": f"{vendors}/api.fiscaldata.treasury.gov"},
        "extract-sdmx-series": {**SAMPLE_EURO_RATE, "base_url": f"{vendors}/data-api.ecb.europa.eu/service"},
    }


def build_all_sample_extracts(vendors: str, token: str) -> Extracts:
    """Return the same, and those that run only if a person has a table for them in finelt.toml: each step takes time."""
    return {
        **build_sample_extracts(vendors, token),
        "extract-gleif-entities": {
            "datasets": ["gleif_entities", "gleif_relationships", "gleif_exceptions"],
            "base_url": f"{vendors}/goldencopy.gleif.org",
        },
        "extract-gleif-isins": {"identifiers": ISINS, "base_url": f"{vendors}/api.gleif.org"},
        "extract-openfigi-identifiers": {
            "identifiers": [*(f"TICKER:{ticker}:US" for ticker in TICKERS), *ISINS],
            "token": token,
            "base_url": f"{vendors}/api.openfigi.com",
        },
        "extract-sec-filings": {"ciks": CIKS, "contact": CONTACT, "base_url": f"{vendors}/data.sec.gov"},
        "extract-sec-13f-holdings": {**MANAGER_FILINGS, "base_url": f"{vendors}/www.sec.gov"},
        "extract-sec-insider-transactions": {**INSIDER_FILINGS, "base_url": f"{vendors}/www.sec.gov"},
    }
