"""Identifiers of securities, entities and currencies: their form, the registry's prefix, the check digit.

python-stdnum checks them, except for ISINs that begin with EZ (derivatives, assigned by the ANNA Derivatives Service Bureau), which version
2.2 takes for invalid, and for currencies, which `iso4217` lists. Digits 5 and 6 of a LEI may be any: many early ones are not 00.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from jobkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType

FORMS = {
    "isin": "[A-Z]{2}[A-Z0-9]{9}[0-9]",
    "cusip": "[A-Z0-9*@#]{8}[0-9]",
    "sedol": "[B-DF-HJ-NP-TV-Z0-9]{6}[0-9]",
    "lei": "[A-Z0-9]{18}[0-9]{2}",
    "figi": "[B-DF-HJ-NP-TV-Z0-9]{11}[0-9]",
}
NAMES = {"isin": "an ISIN", "cusip": "a CUSIP", "sedol": "a SEDOL", "lei": "a LEI", "figi": "a FIGI"}
MANGLED = re.compile(r"[-+]?\d+([.,]\d+)?E[-+]?\d+", re.IGNORECASE)
SPREADSHEET = "a number that a spreadsheet made of it; format the column as text and export it again"
MINOR_UNITS = {"GBX": "GBP", "GBp": "GBP", "GBPp": "GBP", "ZAc": "ZAR", "ZAX": "ZAR", "ILa": "ILS", "ILX": "ILS", "USX": "USD"}

# By list three of ISO 4217, since 1990: files of those years are still dropped.
WITHDRAWN = """
ADP AFA ANG AON AOR ATS AZM BAD BEF BGL BGN BRE BRN BRR BYB BYR CSD CSK CUC CYP DDM DEM ECS EEK ESP FIM FRF GEK GHC GRD GWP HRD HRK IEP ITL
LTL LUF LVL MGF MRO MTL MXP MZM NLG PEI PLZ PTE ROL RUR SDD SIT SKK SLL SRG STD TJR TMM TPE TRL UAK UYN VEB VEF XEU YUD YUM YUN ZMK ZRN ZRZ
ZWD ZWL ZWR
"""


@cache
def _modules() -> dict[str, ModuleType]:
    """Import python-stdnum's modules, by kind of identifier; few jobs have the library."""
    from stdnum import cusip, figi, isin, lei  # noqa: PLC0415
    from stdnum.gb import sedol  # noqa: PLC0415

    return {"isin": isin, "cusip": cusip, "sedol": sedol, "lei": lei, "figi": figi}


def _check(kind: str) -> Callable[[str], str | None]:
    """Return a function that explains why a text is no identifier of a kind, or returns None.

    ISIN: ISO 6166. CUSIP: ANSI X9.6. SEDOL: London Stock Exchange. LEI: ISO 17442, check digits of ISO 7064 (mod 97-10). FIGI: OMG.
    """
    form = re.compile(FORMS[kind])

    def check(text: str) -> str | None:
        from stdnum.exceptions import InvalidChecksum, InvalidComponent, ValidationError  # noqa: PLC0415

        module = _modules()[kind]
        if not form.fullmatch(text):
            return _malformed(kind, text)
        try:
            module.validate(text)
        except InvalidChecksum:
            return _wrong_digit(kind)
        except InvalidComponent:
            if kind == "isin" and text.startswith("EZ"):
                return None if module.calc_check_digit(text[:-1]) == text[-1] else _wrong_digit(kind)
            return f"not {NAMES[kind]}: it begins with a code that is nobody's"
        except ValidationError:
            return _malformed(kind, text)
        return None

    return check


def refuse_wrong(option: str, problems: Sequence[str]) -> None:
    """Raise UsageError (exit code 2) if there are problems with identifiers, each a sentence; it names the first five."""
    if problems:
        raise UsageError(f"{option}: {'; '.join(problems[:5])}{' and others' if problems[5:] else ''}; correct or remove them")


def _wrong_digit(kind: str) -> str:
    return f"not {NAMES[kind]}: its check digit does not hold, so that a character is wrong or missing"


def _malformed(kind: str, text: str) -> str:
    """Explain the wrong form of an identifier by its likely cause: a spreadsheet, blanks, lost zeros, small letters."""
    if MANGLED.fullmatch(text):
        return f"not {NAMES[kind]} but {SPREADSHEET}"
    length = {"isin": 12, "cusip": 9, "sedol": 7, "lei": 20, "figi": 12}[kind]
    if text != text.strip():
        return f"not {NAMES[kind]}: it has blanks around it"
    if text.isdigit() and len(text) < length:
        return f"not {NAMES[kind]}: it has {len(text)} digits of {length}; did a spreadsheet drop leading zeros?"
    if text != text.upper():
        return f"not {NAMES[kind]}: it has small letters"
    return f"not {NAMES[kind]}, which has {length} letters and digits"


@cache
def _currencies() -> frozenset[str]:
    import iso4217  # noqa: PLC0415  read where a contract has a currency

    return frozenset(currency.code for currency in iso4217.Currency) | frozenset(WITHDRAWN.split())


def _currency(text: str) -> str | None:
    """Explain why a text is no currency of ISO 4217, current or withdrawn since 1990, or return None."""
    if text in _currencies():
        return None
    if text in MINOR_UNITS:
        return f"not a currency of ISO 4217 but a hundredth of {MINOR_UNITS[text]}; give prices in {MINOR_UNITS[text]}"
    if text.strip().upper() in _currencies():
        return f"not a currency of ISO 4217; write {text.strip().upper()}"
    return "not a currency of ISO 4217"


CHECKS: dict[str, Callable[[str], str | None]] = {
    **{kind: _check(kind) for kind in FORMS},
    "currency": _currency,
}
