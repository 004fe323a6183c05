"""What the extract jobs are asked for when a person tries the pipeline."""

from __future__ import annotations

SAMPLE_START, SAMPLE_END = "2009-07-01", "2013-02-28"  # the days of the sample prices
SAMPLE_MARKET_START = "2012-12-03"  # a file a day: three months of them
TICKERS = ["AAPL", "IBM", "MSFT", "GOOG"]
CIKS = ["320193"]
CONTACT = "finelt demo demo@example.com"
UNHURRIED = 1_000_000  # the sample vendors do not mind how often they are asked

Extracts = dict[str, dict[str, object]]


def sample(vendors: str, token: str) -> Extracts:
    """The extract jobs and their options for the sample vendors at a URL, who take any token; it is given by reference."""
    days = {"start": SAMPLE_START, "end": SAMPLE_END, "lookback_days": 0}
    market = {**days, "start": SAMPLE_MARKET_START, "requests_per_minute": UNHURRIED}
    return {
        "extract-ecb-fx-rates": {**days, "base_url": f"{vendors}/www.ecb.europa.eu"},
        "extract-treasury-yields": {**days, "base_url": f"{vendors}/home.treasury.gov"},
        "extract-tiingo-prices": {
            **days,
            "tickers": TICKERS,
            "token": token,
            "requests_per_hour": UNHURRIED,
            "base_url": f"{vendors}/api.tiingo.com",
        },
        "extract-massive-daily-prices": {**market, "token": token, "base_url": f"{vendors}/api.massive.com"},
        "extract-sec-company-facts": {"ciks": CIKS, "contact": CONTACT, "base_url": f"{vendors}/data.sec.gov"},
        "extract-sec-filers": {"contact": CONTACT, "base_url": f"{vendors}/www.sec.gov"},
    }
