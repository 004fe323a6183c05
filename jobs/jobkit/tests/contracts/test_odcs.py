"""A contract file is read strictly: what finelt does not implement is refused by name."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from jobkit.contracts import Contract, Rule, load
from jobkit.errors import BadDataError, NewerFormatError

COLUMN = "- {name: id, logicalType: string, physicalType: string, required: true, primaryKey: true, primaryKeyPosition: 1}"
TEXT = f"""\
apiVersion: v3.1.0
kind: DataContract
id: trades
version: 1.0.0
status: active
description: {{purpose: Trades, usage: as an example}}
slaProperties:
  - {{property: latency, value: 2, unit: d}}
schema:
  - name: trades
    physicalType: table
    description: One row per trade.
    customProperties:
      - {{property: leaf, value: "hash(id, 1)"}}
      - {{property: licence, value: "ours, for now"}}
      - {{property: maxBadRows, value: 0.02}}
    quality:
      - {{type: custom, engine: finelt, implementation: "bid <= ask"}}
    properties:
      {COLUMN}
      - {{name: bid, logicalType: number, physicalType: "decimal(8,2)", logicalTypeOptions: {{minimum: 0.01}}}}
      - {{name: ask, logicalType: number, physicalType: "decimal(8,2)"}}
      - {{name: day, logicalType: date, physicalType: date}}
      - {{name: note, logicalType: string, physicalType: string}}
"""


def read(tmp_path: Path, text: str) -> Contract:
    path = tmp_path / "trades.odcs.yaml"
    path.write_text(text, encoding="utf-8")
    return load(path)


def edited(was: str, now: str) -> str:
    assert was in TEXT
    return TEXT.replace(was, now, 1)


def test_a_contract_is_read_completely(tmp_path: Path) -> None:
    contract = read(tmp_path, TEXT)
    assert (contract.dataset, contract.key, contract.leaf, contract.licence) == ("trades", ("id",), "hash(id, 1)", "ours, for now")
    assert (contract.latency_days, contract.max_bad_rows, contract.rules) == (2, 0.02, (Rule("bid", "<=", "ask", "quarantine"),))
    assert contract.fields[1].minimum == Decimal("0.01")
    assert (contract.classification, contract.redistribution, contract.shows_values) == (None, None, False)


REFUSED = [
    # misspelled, and known to the standard but not to this version: by name, wherever it is
    ("required: true", "requried: true", "'requried'.*did you mean 'required'"),
    ("minimum: 0.01", "minimun: 0.01", "'minimun'.*did you mean 'minimum'"),
    ("property: maxBadRows", "property: maxBadRow", "'maxBadRow'.*did you mean 'maxBadRows'"),
    ("status: active", "status: active\nrole: x", "the key 'role'"),
    ("status: active", "status: active\nservers: []", "the key 'servers'"),
    ("physicalType: table", "physicalType: table\n    relationships: []", "schema has the key 'relationships'"),
    ("name: note,", "name: note, classification: confidential,", "column note has the key 'classification'"),
    ("name: note,", "name: note, encryptedName: note_x,", "column note has the key 'encryptedName'"),
    ("name: note,", "name: note, logicalTypeOptions: {format: email},", "column note: the format 'email' is not implemented"),
    ("minimum: 0.01", "minLength: 1", "column bid: logicalTypeOptions has the key 'minLength'"),
    ("{purpose: Trades,", "{purpos: Trades,", "'purpos'.*did you mean 'purpose'"),
    ('licence, value: "ours, for now"', "licence, value: ours, for now", "customProperties has the key 'for now'"),
    ("property: leaf,", "property: leaf, note: x,", "customProperties has the key 'note'"),
    ("property: latency", "property: availability", "'availability' is not implemented"),
    ("property: latency, value: 2, unit: d", "property: retention, value: 0, unit: y", "a whole number of years from 1 up, unit y"),
    ("property: latency", "property: retention", "with unit 'd'; expected a whole number of years"),
    ("property: licence,", "property: asOfFrom, value: soon}\n      - {property: licence,", "expected a date such as"),
    ("unit: d", "unit: h", "expected a whole number of days"),
    ("value: 2, unit", "value: 1.5, unit", "expected a whole number of days"),
    # rules that no code enforces
    ("type: custom, engine: finelt", "type: custom, engine: soda", "engine 'soda' is not implemented"),
    ('{type: custom, engine: finelt, implementation: "bid <= ask"}', "{type: sql, query: select 1}", "quality has the key 'query'"),
    ('{type: custom, engine: finelt, implementation: "bid <= ask"}', "{type: text, description: all is well}", "of type 'text'"),
    ('{type: custom, engine: finelt, implementation: "bid <= ask"}', "{metric: rowCount, mustBe: 0}", "'rowCount' is not implemented"),
    ('{type: custom, engine: finelt, implementation: "bid <= ask"}', "{metric: duplicateValues, mustBeLessThan: 5}", "'mustBeLessThan'"),
    ("bid <= ask", "bid <= asked", "a rule names 'asked'"),
    ("bid <= ask", "bid is ask", "is not a rule"),
    ("implementation:", "severity: error, implementation:", "severity is 'error'"),
    ("name: note,", "name: note, quality: [{metric: nullValues, mustBe: 3}],", "must have mustBe: 0"),
    ("name: note,", "name: note, quality: [{metric: nullValues, mustBe: 0, severity: drop}],", "the column's policy quarantine"),
    ("name: note,", "name: note, quality: [{metric: invalidValues, mustBe: 0}],", "needs arguments"),
    ("name: note,", "name: note, quality: [{metric: missingValues, mustBe: 0}],", "'missingValues' is not implemented"),
    # values of the wrong type
    ("required: true", 'required: "true"', "required is 'true'; expected true or false"),
    ("minimum: 0.01", 'minimum: "0.01"', "minimum is '0.01'; expected a number"),
    ("minimum: 0.01", "minimum: true", "minimum is 'True'; expected a number"),
    ("minimum: 0.01", "minimum: .inf", "another number than it looks like"),
    ("minimum: 0.01", "minimum:", "minimum is empty; expected a number"),
    ("primaryKeyPosition: 1", "primaryKeyPosition: 0", "without a place"),
    ("primaryKey: true, ", "", "without primaryKey"),
    ("version: 1.0.0", "version: 1.0", "version is '1.0'; expected text, in quotes"),
    ("value: 0.02", "value: 2", "a share from 0 to 1"),
    (
        "name: day, logicalType: date, physicalType: date",
        'name: day, physicalType: date, logicalTypeOptions: {minimum: "soon"}',
        "expected a date",
    ),
    ("name: note, logicalType: string, physicalType: string", "name: note, physicalType: varchar", "'varchar' is unknown"),
    ("decimal(8,2)", "decimal(39,2)", "impossible digits"),
    ("decimal(8,2)", "decimal(2,8)", "impossible digits"),
    ("name: note,", "name: bid,", "column 'bid' appears twice"),
    ("name: note,", 'name: note, logicalTypeOptions: {pattern: "["},', "cannot be read"),
    ("name: note,", "name: note, logicalTypeOptions: {minLength: 3, maxLength: 2},", "is above maxLength"),
    ("name: note,", "name: note, logicalTypeOptions: {minLength: -1},", "expected 0 or more"),
    ("name: note,", "name: note, enum: [],", "is empty"),
    ("name: note,", "name: note, enum: [EUR],", "enum is 'EUR'; expected a mapping"),
    ("name: note,", "name: note, enum: [{value: 1}],", "expected text, in quotes"),
    ("name: ask,", "name: ask, logicalTypeOptions: {multipleOf: 0},", "above 0"),
    ("name: ask,", "name: ask, logicalTypeOptions: {exclusiveMinimum: 2, maximum: 1},", "above its maximum"),
    ("name: note,", "name: note, customProperties: [{property: policy, value: ignore}],", "policy is 'ignore'"),
    ("kind: DataContract", "kind: Contract", "expected DataContract"),
    ("apiVersion: v3.1.0", "apiVersion: v2.2.2", "apiVersion is 'v2.2.2'; expected v3.0.0 to v3.1.x"),
    ("apiVersion: v3.1.0", "apiVersion: latest", "apiVersion is 'latest'"),
    ("schema:", "schema: []\nteam:", "the schema has 0 items|schema has 0 items"),
    # what YAML makes of values without quotes
    ("name: note,", "name: note, required: yes,", "yes without quotes is read as true or false"),
    ("name: note,", "name: NO,", "NO without quotes is read as true or false"),
    ("name: note,", "name: on,", "on without quotes"),
    ("name: note,", "name: 2024-01-01,", "2024-01-01 without quotes is read as a date"),
    ("primaryKeyPosition: 1", "primaryKeyPosition: 01", "01 without quotes is read as another number"),
    ("primaryKeyPosition: 1", "primaryKeyPosition: 0x1", "0x1 without quotes"),
    ("value: 2, unit", "value: 1_000, unit", "1_000 without quotes"),
    ("value: 2, unit", "value: 1:30, unit", "1:30 without quotes"),
    ("minimum: 0.01", "minimum: 0.01, minimum: 5", "'minimum' appears twice"),
    ("id: trades", "id: trades\nid: quotes", "line 4: the key 'id' appears twice"),
    ("property: maxBadRows, value: 0.02", "property: licence, value: yours", "'licence' appears twice"),
    ("name: note,", "1: note,", "the key 1 is not text"),
    ("status: active", "status: &s active\ntenant: *s", "line 6 has an alias"),
    ("status: active", "status: active\n<<: {tenant: x}", "an instruction to merge"),
    ("status: active", "status: !!python/name:os.system active", "it is not YAML"),
    ("status: active", "status: active\n---\nstatus: draft", "it is not YAML"),
    ("status: active", "status: [", "it is not YAML"),
    ("status: active", "status: " + "[" * 5000, "nested too deeply|it is not YAML"),
]


@pytest.mark.parametrize(("was", "now", "message"), REFUSED, ids=lambda text: text[:40] if isinstance(text, str) else None)
def test_what_finelt_does_not_implement_is_refused_by_name(tmp_path: Path, was: str, now: str, message: str) -> None:
    with pytest.raises(BadDataError, match=message) as error:
        read(tmp_path, edited(was, now))
    assert "trades.odcs.yaml is not a contract" in str(error.value)
    assert len(str(error.value)) < 700


@pytest.mark.parametrize("text", ["", "- a", "just words", "\0", "schema: [{name: x}]"])
def test_a_file_that_is_not_a_contract_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(BadDataError):
        read(tmp_path, text)


def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "trades.odcs.yaml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(BadDataError):
        load(path)


def test_library_rules_mean_the_same_as_options(tmp_path: Path) -> None:
    by_options = edited(
        "name: note,", "name: note, required: true, unique: true, logicalTypeOptions: {pattern: '^a'}, enum: [{value: ab}],"
    )
    rules = "[{metric: nullValues, mustBe: 0}, {metric: duplicateValues, mustBe: 0}"
    rules += ", {metric: invalidValues, mustBe: 0, arguments: {pattern: '^a'}}"
    by_rules = edited(
        "name: note,", f"name: note, quality: {rules}, {{metric: invalidValues, mustBe: 0, arguments: {{validValues: [ab]}}}}],"
    )
    assert read(tmp_path, by_options) == read(tmp_path, by_rules)
    assert read(tmp_path, by_options).unique == (("note",),)


def test_rows_may_be_unique_in_several_columns(tmp_path: Path) -> None:
    rule = "{metric: duplicateValues, mustBe: 0, arguments: {properties: [day, note]}}"
    contract = read(tmp_path, edited('- {type: custom, engine: finelt, implementation: "bid <= ask"}', f"- {rule}"))
    assert contract.unique == (("day", "note"),)


def test_numbers_are_exact(tmp_path: Path) -> None:
    contract = read(
        tmp_path, edited("minimum: 0.01", "minimum: 0.1000000000000000055, multipleOf: 0.01, exclusiveMaximum: 12345678901234567890")
    )
    assert contract.fields[1].minimum == Decimal("0.1000000000000000055")
    assert contract.fields[1].exclusive_maximum == Decimal(12345678901234567890)


CUSTOM = '- {property: licence, value: "ours, for now"}'


@pytest.mark.parametrize(
    ("was", "now", "message"),
    [
        (CUSTOM, CUSTOM + "\n      - {property: encoding, value: utf8}", "encoding is 'utf8'; choose one of utf-8"),
        (CUSTOM, CUSTOM + '\n      - {property: delimiter, value: ":"}', "delimiter is ':'; choose one of"),
        (CUSTOM, CUSTOM + '\n      - {property: thousandsSeparator, value: "."}', "are both '.', so that no number could be read"),
        (CUSTOM, CUSTOM + "\n      - {property: negativeNumbers, value: [minus]}", "negativeNumbers has 'minus'; choose of -1, 1-, "),
        (CUSTOM, CUSTOM + "\n      - {property: headerRow, value: 0}", "headerRow is 0; lines count from 1"),
        (CUSTOM, CUSTOM + "\n      - {property: footerTotals, value: [bid]}", "need footer"),
        (
            CUSTOM,
            CUSTOM + "\n      - {property: footer, value: T}\n      - {property: footerTotals, value: [x]}",
            "'x', which is no column",
        ),
        (CUSTOM, CUSTOM + "\n      - {property: ignoredColumns, value: [bid]}", "ignoredColumns has 'bid', which is a column"),
        (CUSTOM, CUSTOM + "\n      - {property: revision, value: '_v[0-9]+'}", "needs one group that is the number"),
        (CUSTOM, CUSTOM + "\n      - {property: revision, value: '_v('}", "the pattern of revision cannot be read"),
        (CUSTOM, CUSTOM + "\n      - {property: repeatedKey, value: keep}", "repeatedKey is 'keep'; choose one of"),
        ("bid <= ask", "bid = ask * ask", "is not a rule; expected one such as"),
        ("bid <= ask", "bid = ask * ask within", "is not a rule; expected one such as"),
        ("bid <= ask", "bid = ask * ask within 1% 2", "is not a rule; expected one such as"),
        ("bid <= ask", "bid = ask * ask / 0 within 1", "is not a rule; expected one such as"),
        ("bid <= ask", "bid = ask * nobody within 1", "a rule names 'nobody', which is no column"),
        ("name: day,", "name: day, logicalTypeOptions: {format: dd.MM.yy},", "the format 'dd.MM.yy' is not a date that finelt reads"),
        ("name: day,", "name: day, logicalTypeOptions: {format: dd.MM},", "the format 'dd.MM' is not a date that finelt reads"),
        ("name: day,", "name: day, partitioned: true,", "partitioned without a place in it"),
        ("name: day,", "name: day, partitioned: true, partitionKeyPosition: 1,", "it must be required"),
        ("name: day,", "name: day, physicalName: note,", "physicalName 'note' appears twice"),
        ("name: note,", "name: note, customProperties: [{property: case, value: title}],", "case is 'title'; choose one of upper, lower"),
        ("name: note,", "name: note, customProperties: [{property: countedWithin, value: [x]}],", "countedWithin of note names 'x'"),
    ],
)
def test_a_layout_that_no_file_can_have_is_refused(tmp_path: Path, was: str, now: str, message: str) -> None:
    with pytest.raises(BadDataError) as error:
        read(tmp_path, edited(was, now))
    assert message in str(error.value)


def test_a_product_has_a_divisor_and_two_tolerances(tmp_path: Path) -> None:
    (product,) = read(tmp_path, edited("bid <= ask", "bid = ask * ask / 100 within 0.5% or 0.01")).products
    assert (product.value, product.factors, product.divisor, product.share, product.amount) == (
        "bid",
        ("ask", "ask"),
        Decimal(100),
        Decimal("0.005"),
        Decimal("0.01"),
    )


def test_a_sum_has_two_terms_or_more(tmp_path: Path) -> None:
    (total,) = read(tmp_path, edited("bid <= ask", "bid = ask + ask + ask")).sums
    assert (total.value, total.terms, total.text) == ("bid", ("ask", "ask", "ask"), "bid = ask + ask + ask")
    with pytest.raises(BadDataError, match="a rule names 'fee', which is no column"):
        read(tmp_path, edited("bid <= ask", "bid = ask + fee"))
    with pytest.raises(BadDataError, match="is not a rule"):
        read(tmp_path, edited("bid <= ask", "bid = ask - ask"))


CONTRACTS = sorted((Path(__file__).parents[3]).glob("*/*/*.odcs.yaml"))


@pytest.mark.parametrize("path", CONTRACTS, ids=lambda path: path.stem)
def test_every_contract_of_the_repository_can_be_read_and_has_a_key(path: Path) -> None:
    rules = load(path)
    names = {field.name for field in rules.fields}
    assert rules.dataset == path.name.removesuffix(".odcs.yaml")
    assert rules.key
    assert set(rules.key) <= names
    assert rules.leaf.partition("(")[2].rstrip(")").split(",")[0] in names


@pytest.mark.parametrize(("text", "share"), [("0.25", 0.25), ("1", 1.0), ("-0.1", None), ("2", None), ("true", None), ("much", None)])
def test_max_missing_rows_is_a_share(tmp_path: Path, text: str, share: float | None) -> None:
    path, line = tmp_path / "x.odcs.yaml", "      - {property: maxBadRows"
    contract = next(path for path in CONTRACTS if path.name == "tiingo_prices.odcs.yaml")
    path.write_text(contract.read_text().replace(line, f"      - {{property: maxMissingRows, value: {text}}}\n{line}", 1))
    if share is None:
        with pytest.raises(BadDataError):
            load(path)
    else:
        assert load(path).max_missing_rows == share


def test_the_error_of_an_invalid_contract_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.odcs.yaml"
    path.write_text("schema: [{name: x}]")
    with pytest.raises(BadDataError, match=r"x\.odcs\.yaml is not a contract"):
        load(path)


def test_a_contract_of_a_newer_standard_is_refused_by_name_and_an_older_one_is_read(tmp_path: Path) -> None:
    path = tmp_path / "trades.odcs.yaml"
    for newer in ("v3.2.0", "v4.0.0"):
        path.write_text(TEXT.replace("v3.1.0", newer), encoding="utf-8")
        with pytest.raises(
            NewerFormatError, match=f"trades.odcs.yaml: apiVersion is {newer}, and this version reads .* up to v3.1.x; upgrade"
        ):
            load(path)
    for older in ("apiVersion: v3.0.2\n", ""):
        path.write_text(TEXT.replace("apiVersion: v3.1.0\n", older), encoding="utf-8")
        assert load(path).dataset == "trades"
