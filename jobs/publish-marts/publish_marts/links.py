"""Links between the pages of a version, written from its root (`./marts/fct_yield.html`), and the names of their files.

`move_links` makes them work on a page in a folder. Names come from vendors, so no file is named by one that could leave its folder.
"""

from __future__ import annotations

import hashlib
import re

from markupsafe import Markup

_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def name_page(folder: str, name: str) -> str:
    """Return the key of the page of a security, dataset, run or mart."""
    return f"{folder}/{name if _SAFE_NAME.fullmatch(name) else hashlib.sha256(name.encode()).hexdigest()[:16]}.html"


def link_page(folder: str, name: str, text: str | None = None) -> Markup:
    """Link to the page of a security, dataset, run or mart."""
    return Markup('<a href="./{}">{}</a>').format(name_page(folder, name), text or name)


def link_filing(cik: int, accession: str) -> Markup:
    """Link to a filing at the SEC, by its accession number."""
    return Markup('<a href="https://www.sec.gov/Archives/edgar/data/{}/{}/{}-index.htm" rel="noreferrer">{}</a>').format(
        cik, accession.replace("-", ""), accession, accession
    )


def move_links(page: bytes) -> bytes:
    """Rewrite the links of a page written for the root of a version so that they work from one of its folders."""
    return page.replace(b'="./', b'="../')
