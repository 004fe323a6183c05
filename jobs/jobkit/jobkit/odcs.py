"""Contract files, read strictly: a key that is not implemented is refused by name, so that nobody trusts a rule that is not kept.

A subset of the Open Data Contract Standard v3 (https://bitol-io.github.io/open-data-contract-standard/). YAML's surprises are refused too:
duplicate keys, aliases, and values without quotes that YAML 1.1 reads as something else than they look like (`no`, 2024-01-01, 010).
"""

from __future__ import annotations

import re
from datetime import date, datetime
from decimal import Decimal
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, get_args

import yaml

from jobkit import names
from jobkit.column_types import DECIMAL
from jobkit.contract import Classification, Contract, Evolution, Field, Layout, Policy, Product, Redistribution, Rounding, Rule, regex

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

TEXT, NUMBER, INTEGER, BOOLEAN, LIST, MAPPING, ANYTHING = "text", "a number", "a whole number", "true or false", "a list", "a mapping", ""
TYPES: dict[str, tuple[type, ...]] = {
    TEXT: (str,),
    NUMBER: (int, Decimal),
    INTEGER: (int,),
    BOOLEAN: (bool,),
    LIST: (list,),
    MAPPING: (dict,),
}

# The keys that are read, by place, and what each holds. Keys that only describe are taken as they are.
ABOUT = dict.fromkeys(("id", "name", "description", "businessName", "tags", "authoritativeDefinitions"), ANYTHING)
CONTRACT = {
    **dict.fromkeys(("domain", "tenant", "tags", "support", "team", "authoritativeDefinitions", "contractCreatedTs", "name"), ANYTHING),
    **dict.fromkeys(("apiVersion", "kind", "id", "version", "status"), TEXT),
    "description": MAPPING,
    "slaProperties": LIST,
    "schema": LIST,
}
DESCRIPTION = {"purpose": TEXT, "usage": TEXT, "limitations": TEXT, "authoritativeDefinitions": LIST}
SLA = {"property": TEXT, "value": ANYTHING, "unit": TEXT, "description": TEXT, "id": TEXT}
SCHEMA = {
    **ABOUT,
    **dict.fromkeys(("logicalType", "dataGranularityDescription"), ANYTHING),
    **dict.fromkeys(("name", "physicalType", "description"), TEXT),
    **dict.fromkeys(("properties", "quality", "customProperties"), LIST),
}
COLUMN = {
    **ABOUT,
    "examples": LIST,
    **dict.fromkeys(("name", "logicalType", "physicalType", "physicalName", "description"), TEXT),
    **dict.fromkeys(("required", "unique", "primaryKey", "partitioned"), BOOLEAN),
    **dict.fromkeys(("primaryKeyPosition", "partitionKeyPosition"), INTEGER),
    "logicalTypeOptions": MAPPING,
    **dict.fromkeys(("enum", "quality", "customProperties"), LIST),
}
ENUM = {"value": ANYTHING, "label": ANYTHING, **ABOUT}
CUSTOM = {"property": TEXT, "value": ANYTHING, "description": TEXT, "id": TEXT}
QUALITY = {
    **ABOUT,
    **dict.fromkeys(("dimension", "businessImpact"), ANYTHING),
    **dict.fromkeys(("type", "engine", "implementation", "severity", "metric"), TEXT),
    "arguments": MAPPING,
    "mustBe": NUMBER,
}
CUSTOM_OF_SCHEMA = {
    **dict.fromkeys(("leaf", "licence", "licenceUrl", "classification", "redistribution", "newFields", "newFieldType"), TEXT),
    **dict.fromkeys(("maxBadRows", "maxMissingRows"), NUMBER),
    **dict.fromkeys(("encoding", "delimiter", "decimalSeparator", "thousandsSeparator", "sheet", "revision", "repeatedKey"), TEXT),
    **dict.fromkeys(("negativeNumbers", "ignoredColumns", "footerTotals"), LIST),
    **dict.fromkeys(("footer", "footerCount"), TEXT),
    "footerRequired": BOOLEAN,
    "footerTolerance": NUMBER,
    "headerRow": INTEGER,
}
CUSTOM_OF_COLUMN = {
    **dict.fromkeys(("unit", "policy", "evolution", "rounding", "case", "constant"), TEXT),
    **dict.fromkeys(("trim", "percent"), BOOLEAN),
    "countedWithin": LIST,
}
OPTIONS_OF_NUMBERS = dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"), NUMBER)
OPTIONS_OF_TIMES = dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), TEXT)
OPTIONS_OF_TEXT = {"minLength": INTEGER, "maxLength": INTEGER, "pattern": TEXT, "format": TEXT}
OPTIONS: dict[str, dict[str, str]] = {
    "string": OPTIONS_OF_TEXT,
    "date": {**OPTIONS_OF_TIMES, "format": TEXT},
    "timestamp": OPTIONS_OF_TIMES,
    "boolean": {},
    **dict.fromkeys(("int", "long", "double", "decimal"), OPTIONS_OF_NUMBERS),
}

RULE = re.compile(r"(.+) (<=|<) (.+)")
AMOUNT = r"\d+(?:\.\d+)?"
PRODUCT = re.compile(rf"(\w+) = (\w+) \* (\w+)(?: / ({AMOUNT}))? within (?:({AMOUNT})%)?(?: or )?({AMOUNT})?")
ENCODINGS = (
    *("utf-8", "utf-16", "utf-16-le", "utf-16-be", "cp1250", "cp1251", "cp1252", "cp1253", "cp1254", "cp1257"),
    *("iso-8859-1", "iso-8859-2", "iso-8859-15", "shift_jis", "gb18030", "big5", "euc_kr"),
)
DELIMITERS = (",", ";", "\t", "|")
SEPARATORS = ("", ".", ",", "'", " ")
NEGATIVE = ("-1", "1-", "(1)")
IDENTIFIERS = ("isin", "cusip", "sedol", "lei", "currency")
DAY = re.compile(r"yyyy|MMM|MM|M|dd|d|[^A-Za-z]")
PARTITIONED = re.compile(r"[a-z_]+")
MOST_DIGITS = 38
WHOLE, FRACTION = re.compile(r"[-+]?(0|[1-9]\d*)"), re.compile(r"[-+]?\d+\.\d+([eE][-+]\d+)?")
DAYS = ("d", "day", "days")


class ContractError(ValueError):
    """What is wrong in a contract file, with its place."""


class _Loader(yaml.SafeLoader):
    """YAML whose plain values mean what they look like. Numbers with a fraction are exact."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            at = self.peek_event().start_mark.line + 1  # type: ignore[no-untyped-call]
            raise ContractError(f"line {at} has an alias; write the value out")
        return super().compose_node(parent, index)


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str):
            raise ContractError(f"{_line(key_node)}: the key {key!r} is no text; write it in quotes")
        if key in found:
            raise ContractError(f"{_line(key_node)}: the key {key!r} is there twice; keep one of them")
        found[key] = loader.construct_object(value_node, deep=True)
    return found


def _boolean(_loader: _Loader, node: yaml.ScalarNode) -> bool:
    if node.value not in ("true", "false"):
        raise _surprising(node, "true or false")
    return bool(node.value == "true")


def _integer(_loader: _Loader, node: yaml.ScalarNode) -> int:
    if not WHOLE.fullmatch(node.value):
        raise _surprising(node, "another number than it looks like")
    return int(node.value)


def _fraction(_loader: _Loader, node: yaml.ScalarNode) -> Decimal:
    if not FRACTION.fullmatch(node.value):
        raise _surprising(node, "another number than it looks like")
    return Decimal(node.value)


def _time(_loader: _Loader, node: yaml.ScalarNode) -> object:
    raise _surprising(node, "a date")


def _merge(_loader: _Loader, node: yaml.ScalarNode) -> object:
    raise _surprising(node, "an instruction to merge")


def _surprising(node: yaml.ScalarNode, read_as: str) -> ContractError:
    return ContractError(f"{_line(node)}: {node.value} without quotes is read as {read_as}; write it in quotes, or what is meant")


def _line(node: yaml.Node) -> str:
    return f"line {node.start_mark.line + 1}"


_CONSTRUCTORS: dict[str, Callable[[Any, Any], Any]] = {
    "map": _mapping,
    "bool": _boolean,
    "int": _integer,
    "float": _fraction,
    "timestamp": _time,
    "merge": _merge,
    "value": _merge,
}
for _kind, _construct in _CONSTRUCTORS.items():
    _Loader.add_constructor(f"tag:yaml.org,2002:{_kind}", _construct)


def parse(text: str) -> dict[str, Any]:
    """The document in a contract file, as YAML says it. Raises ContractError."""
    try:
        document = yaml.load(text, _Loader)  # noqa: S506  made of SafeLoader
    except ContractError:
        raise
    except yaml.YAMLError as error:
        raise ContractError(f"it is not YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise ContractError("it is nested too deeply") from None
    whole: dict[str, Any] = _typed("the file", document, MAPPING)
    return whole


def read(text: str) -> Contract:
    """The contract in a file. Raises ContractError naming the first key or value that cannot be."""
    document = _keys("the contract", parse(text), CONTRACT, ("version", "schema"))
    _keys("description", document.get("description", {}), DESCRIPTION)
    if document.get("kind", "DataContract") != "DataContract":
        raise ContractError(f"kind is {document['kind']!r}; expected DataContract")
    if len(document["schema"]) != 1:
        raise ContractError(f"schema has {len(document['schema'])} items; a contract is of one dataset")
    schema = _keys("schema", document["schema"][0], SCHEMA, ("name", "description", "properties", "customProperties"))
    custom = _custom("schema", schema, CUSTOM_OF_SCHEMA, ("leaf", "licence"))
    columns = [_column(item, number) for number, item in enumerate(schema["properties"], 1)]
    rules = [_quality("schema", item) for item in schema.get("quality", ())]
    _check_names([field for field, _ in columns], [rule for rule in rules if not isinstance(rule, dict)])
    return Contract(
        dataset=schema["name"],
        description=schema["description"],
        fields=tuple(field for field, _ in columns),
        key=tuple(name for _, name in sorted((place, field.name) for field, place in columns if place is not None)),
        leaf=custom["leaf"],
        licence=custom["licence"],
        new_fields=_one_of(custom, "newFields", get_args(Evolution), "freeze"),
        new_field_type=_known_type("newFieldType", custom.get("newFieldType", "string")),
        max_bad_rows=_share(custom, "maxBadRows", Decimal("0.05")),
        rules=tuple(rule for rule in rules if isinstance(rule, Rule)),
        version=document["version"],
        latency_days=_latency(document.get("slaProperties", ())),
        unique=_uniques(columns, [rule for rule in rules if isinstance(rule, dict)]),
        products=tuple(rule for rule in rules if isinstance(rule, Product)),
        partition=_partition(schema["properties"]),
        repeated_key=_one_of(custom, "repeatedKey", get_args(Policy), "quarantine"),
        layout=_layout(custom, {field.label for field, _ in columns}, {field.name for field, _ in columns}),
        classification=_one_of(custom, "classification", get_args(Classification), None),
        redistribution=_one_of(custom, "redistribution", get_args(Redistribution), None),
        licence_url=custom.get("licenceUrl", ""),
        max_missing_rows=_share(custom, "maxMissingRows", 0),
    )


def _check_names(fields: Sequence[Field], rules: Sequence[Rule | Product]) -> None:
    names, labels = [field.name for field in fields], [field.label for field in fields if field.constant is None]
    for what, found in (("column", names), ("physicalName", labels)):
        if twice := sorted({name for name in found if found.count(name) > 1}):
            raise ContractError(f"{what} {twice[0]!r} is there twice; keep one of them")
    used = [("a rule", name) for rule in rules for name in _names_of(rule)]
    used += [(f"countedWithin of {field.name}", name) for field in fields for name in field.counted_within]
    if unknown := [(what, name) for what, name in used if name not in names]:
        raise ContractError(f"schema: {unknown[0][0]} names {unknown[0][1]!r}, which is no column")


def _names_of(rule: Rule | Product) -> tuple[str, ...]:
    return (rule.left, rule.right) if isinstance(rule, Rule) else (rule.value, *rule.factors)


def _partition(items: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """The columns that say which lake partition a row is in, in their order."""
    found = [(item.get("partitionKeyPosition", -1), item) for item in items if item.get("partitioned", False)]
    for place, item in found:
        if place < 1:
            raise ContractError(f"column {item['name']} is partitioned without a place in it; write partitionKeyPosition from 1 up")
        if not PARTITIONED.fullmatch(item["name"]) or not item.get("required", False):
            raise ContractError(
                f"column {item['name']} is partitioned; it must be required and its name of lower-case letters and underscores"
            )
    return tuple(item["name"] for _, item in sorted(found, key=lambda pair: pair[0]))


def _layout(custom: Mapping[str, Any], labels: Collection[str], names: Collection[str]) -> Layout:
    """How a dropped file is written."""
    default = Layout()
    decimal = _one_of(custom, "decimalSeparator", (".", ","), default.decimal)
    thousands = _one_of(custom, "thousandsSeparator", SEPARATORS, default.thousands)
    if decimal == thousands:
        raise ContractError(f"schema: decimalSeparator and thousandsSeparator are both {decimal!r}, so that no number could be read")
    negative = tuple(custom.get("negativeNumbers", default.negative))
    if wrong := [form for form in negative if form not in NEGATIVE]:
        raise ContractError(f"schema: negativeNumbers has {wrong[0]!r}; choose of {', '.join(NEGATIVE)}")
    layout = Layout(
        encoding=_one_of(custom, "encoding", ENCODINGS, default.encoding),
        delimiter=_one_of(custom, "delimiter", DELIMITERS, default.delimiter),
        decimal=decimal,
        thousands=thousands,
        negative=negative,
        header_row=custom.get("headerRow", default.header_row),
        sheet=custom.get("sheet"),
        ignored=tuple(_typed("schema: ignoredColumns", name, TEXT) for name in custom.get("ignoredColumns", ())),
        footer=custom.get("footer"),
        footer_required=custom.get("footerRequired", False),
        footer_totals=tuple(_typed("schema: footerTotals", name, TEXT) for name in custom.get("footerTotals", ())),
        footer_count=custom.get("footerCount"),
        footer_tolerance=Decimal(custom.get("footerTolerance", 0)),
        revision=custom.get("revision"),
    )
    _check_layout(layout, labels, names)
    return layout


def _check_layout(layout: Layout, labels: Collection[str], names: Collection[str]) -> None:
    if layout.header_row < 1:
        raise ContractError(f"schema: headerRow is {layout.header_row}; lines count from 1")
    if layout.footer is None and (layout.footer_required or layout.footer_totals or layout.footer_count):
        raise ContractError("schema: footerRequired, footerTotals and footerCount need footer, how the first cell of such a line begins")
    if layout.footer is not None and not layout.footer.strip():
        raise ContractError("schema: footer is empty; write how the first cell of such a line begins, such as Total")
    if unknown := [name for name in (*layout.footer_totals, layout.footer_count) if name is not None and name not in names]:
        raise ContractError(f"schema: the footer names {unknown[0]!r}, which is no column")
    if both := sorted(set(layout.ignored) & set(labels)):
        raise ContractError(f"schema: ignoredColumns has {both[0]!r}, which is a column")
    if layout.revision is not None:
        try:
            groups = regex(layout.revision).groups
        except re.error as error:
            raise ContractError(f"schema: the pattern of revision cannot be read: {error}") from None
        if groups != 1:
            raise ContractError("schema: the pattern of revision needs one group that is the number, such as _v([0-9]+)$")


def _column(given: object, number: int) -> tuple[Field, int | None]:
    """A column, and its position in the key if it is part of it."""
    where = f"column {given.get('name', number) if isinstance(given, dict) else number}"
    item = _keys(where, given, COLUMN, ("name", "physicalType"))
    if not names.is_plain(item["name"]):
        raise ContractError(f"{names.shown(item['name'])} cannot be a column's name; expected {names.RULE}")
    kind = _known_type(where, item["physicalType"])
    options = _keys(f"{where}: logicalTypeOptions", item.get("logicalTypeOptions", {}), OPTIONS[kind.partition("(")[0]])
    custom = _custom(where, item, CUSTOM_OF_COLUMN)
    policy: Policy = _one_of(custom, "policy", get_args(Policy), "quarantine", where)
    checks = _library(where, item, policy)
    named = {"pattern": options.get("pattern"), "values": _enum(where, item.get("enum")), **checks}
    for name, written_twice in (("pattern", options.get("pattern")), ("values", item.get("enum"))):
        if checks.get(name) is not None and written_twice is not None:
            raise ContractError(f"{where}: its {'valid values' if name == 'values' else name} are there twice; keep one of them")
    bounds: dict[str, Any] = {name: _bound(where, kind, option, options) for name, option in BOUNDS.items()}
    field = Field(
        name=item["name"],
        type=kind,
        required=item.get("required", False) or checks.get("required", False),
        unit=custom.get("unit"),
        description=item.get("description", ""),
        policy=policy,
        evolution=_one_of(custom, "evolution", get_args(Evolution), "evolve", where),
        rounding=_rounding(where, kind, custom),
        unique=item.get("unique", False) or checks.get("unique", False),
        min_length=_length(where, options, "minLength"),
        max_length=_length(where, options, "maxLength"),
        pattern=_pattern(where, kind, named["pattern"]),
        values=_values(where, kind, named["values"]),
        format=_format(where, kind, options.get("format")),
        source=item.get("physicalName"),
        trim=custom.get("trim", False),
        case=_one_of(custom, "case", ("upper", "lower"), None, where),
        percent=custom.get("percent", False),
        constant=custom.get("constant"),
        counted_within=tuple(_typed(f"{where}: countedWithin", name, TEXT) for name in custom.get("countedWithin", ())),
        **bounds,
    )
    _check_bounds(where, field)
    return field, _key_position(where, item)


def _rounding(where: str, kind: str, custom: Mapping[str, Any]) -> Rounding:
    """What becomes of digits beyond the column's scale. Raises ContractError where its type has no scale."""
    rounding: Rounding = _one_of(custom, "rounding", get_args(Rounding), "none", where)
    if rounding != "none" and kind.partition("(")[0] not in ("decimal", "int", "long"):
        raise ContractError(f"{where}: rounding is for decimals and whole numbers; {kind} has no scale")
    return rounding


BOUNDS = {
    "minimum": "minimum",
    "maximum": "maximum",
    "exclusive_minimum": "exclusiveMinimum",
    "exclusive_maximum": "exclusiveMaximum",
    "multiple_of": "multipleOf",
}


def _key_position(where: str, item: Mapping[str, Any]) -> int | None:
    place = item.get("primaryKeyPosition")
    if not item.get("primaryKey", False):
        if place not in (None, -1):
            raise ContractError(f"{where} has primaryKeyPosition without primaryKey: true; add it, or drop the position")
        return None
    if place is None or place < 1:
        raise ContractError(f"{where} is part of the key without a place in it; write primaryKeyPosition from 1 up")
    return int(place)


def _known_type(where: str, kind: str) -> str:
    if match := DECIMAL.fullmatch(kind):
        if not (1 <= int(match[1]) <= MOST_DIGITS and int(match[2]) <= int(match[1])):
            raise ContractError(f"{where}: {kind} has impossible digits; a decimal has up to {MOST_DIGITS} of them")
    elif kind not in OPTIONS or kind == "decimal":
        known = ", ".join(name for name in OPTIONS if name != "decimal")
        raise ContractError(f"{where}: physicalType {kind!r} is unknown; choose one of {known}, decimal(18,6)")
    return kind


def _bound(where: str, kind: str, option: str, options: Mapping[str, Any]) -> Decimal | str | None:
    """A limit in the type it is compared in: ISO text for dates and times, Decimal for numbers."""
    value = options.get(option)
    if value is None:
        return None
    if kind not in ("date", "timestamp"):
        if option == "multipleOf" and value <= 0:
            raise ContractError(f"{where}: multipleOf is {value}; expected a number above 0")
        return Decimal(value)
    return _moment(where, kind, option, value)


def _moment(where: str, kind: str, option: str, value: str) -> str:
    try:
        if kind == "date":
            return date.fromisoformat(value).isoformat()
        if datetime.fromisoformat(value).tzinfo is not None:
            return value
    except ValueError:
        pass
    expected = "a date YYYY-MM-DD" if kind == "date" else "a time in ISO 8601 with zone"
    raise ContractError(f"{where}: {option} is {value!r}; expected {expected}, in quotes")


def _check_bounds(where: str, field: Field) -> None:
    lows: list[Any] = [bound for bound in (field.minimum, field.exclusive_minimum) if bound is not None]
    highs: list[Any] = [bound for bound in (field.maximum, field.exclusive_maximum) if bound is not None]
    if lows and highs and max(lows) > min(highs):  # all of one type
        raise ContractError(f"{where}: its minimum {max(lows)} is above its maximum {min(highs)}")
    if field.min_length is not None and field.max_length is not None and field.min_length > field.max_length:
        raise ContractError(f"{where}: minLength {field.min_length} is above maxLength {field.max_length}")


def _length(where: str, options: Mapping[str, Any], name: str) -> int | None:
    length: int | None = options.get(name)
    if length is not None and length < 0:
        raise ContractError(f"{where}: {name} is {length}; expected 0 or more")
    return length


def _pattern(where: str, kind: str, pattern: str | None) -> str | None:
    if pattern is None:
        return None
    if kind != "string":
        raise ContractError(f"{where}: a pattern is of text; physicalType is {kind}")
    try:
        regex(pattern)
    except re.error as error:
        raise ContractError(f"{where}: the pattern {pattern!r} cannot be read: {error}") from None
    return pattern


def _format(where: str, kind: str, name: str | None) -> str | None:
    """The kind of identifier, or how dates are written, in the letters of Java's DateTimeFormatter, as the standard has it."""
    if name is None:
        return None
    if kind == "string" and name not in IDENTIFIERS:
        raise ContractError(f"{where}: the format {name!r} is not implemented; choose one of {', '.join(IDENTIFIERS)}")
    if kind == "date":
        parts = DAY.findall(name)
        letters = sorted(part[0] for part in parts if part[0].isalpha())
        if "".join(parts) != name or letters != ["M", "d", "y"]:
            raise ContractError(
                f"{where}: the format {name!r} is no date that is read here; write yyyy, MM or MMM, and dd once each, as dd.MM.yyyy"
            )
    return name


def _enum(where: str, items: Sequence[object] | None) -> list[object] | None:
    if items is None:
        return None
    return [_keys(f"{where}: enum", item, ENUM, ("value",))["value"] for item in items]


def _values(where: str, kind: str, given: Sequence[object] | None) -> tuple[Decimal | str, ...] | None:
    """The values that a column may have, in the type they are compared in."""
    if given is None:
        return None
    if not given:
        raise ContractError(f"{where}: the list of valid values is empty, so that no row could pass")
    if kind == "boolean":
        raise ContractError(f"{where}: a boolean needs no list of valid values; drop it")
    if kind == "string":
        return tuple(_typed(f"{where}: valid value {value!r}", value, TEXT) for value in given)
    if kind in ("date", "timestamp"):
        return tuple(_moment(where, kind, "a valid value", _typed(f"{where}: valid value {value!r}", value, TEXT)) for value in given)
    return tuple(Decimal(_typed(f"{where}: valid value {value!r}", value, NUMBER)) for value in given)


def _library(where: str, item: Mapping[str, Any], policy: Policy) -> dict[str, Any]:
    """What a column's quality rules of the standard's library say, as the options that they are."""
    found: dict[str, Any] = {}
    for given in item.get("quality", ()):
        rule = _quality(where, given)
        if not isinstance(rule, dict):
            raise ContractError(f"{where}: a rule of engine finelt is of columns that are compared; write it below schema.quality")
        if rule.get("severity", policy) != policy:
            raise ContractError(f"{where}: a rule of the library has the column's policy {policy}; drop its severity, or change the policy")
        for name, value in _of_metric(where, rule):
            if name in found:
                raise ContractError(f"{where}: the metric {rule['metric']} is there twice with the same arguments; keep one of them")
            found[name] = value
    return found


def _of_metric(where: str, rule: Mapping[str, Any]) -> list[tuple[str, Any]]:
    metric, arguments = rule["metric"], rule.get("arguments", {})
    if metric == "invalidValues":
        if not arguments:
            raise ContractError(f"{where}: metric invalidValues needs arguments; write validValues or pattern")
        given = _keys(f"{where}: arguments", arguments, {"validValues": LIST, "pattern": TEXT})
        return [({"validValues": "values", "pattern": "pattern"}[name], value) for name, value in given.items()]
    _keys(f"{where}: arguments of {metric}", arguments, {})
    return [({"nullValues": "required", "duplicateValues": "unique"}[metric], True)]


def _product(where: str, match: re.Match[str], policy: Policy) -> Product:
    """The rule that a column is the product of two others. Raises ContractError where it says not how near, or divides by zero."""
    value, one, other, divisor, percent, amount = match.groups()
    if (
        (percent is None and amount is None)
        or (divisor is not None and not Decimal(divisor))
        or ("or" in match[0].split()) != bool(percent and amount)
    ):
        raise ContractError(f"{where}: {match[0]!r} is no rule; expected one such as value = quantity * price / 100 within 0.5% or 0.01")
    share = Decimal(percent or 0) / 100
    return Product(value, (one, other), Decimal(divisor or 1), share, Decimal(amount or 0), policy, match[0])


def _quality(where: str, given: object) -> Rule | Product | dict[str, Any]:
    """A rule that compares columns, or one of the standard's library. Raises ContractError for any that is not kept row by row."""
    item = _keys(f"{where}: quality", given, QUALITY)
    kind = item.get("type", "library" if "metric" in item else None)
    severity = _one_of(item, "severity", get_args(Policy), "quarantine", f"{where}: quality")
    if kind == "custom" and item.get("engine") == "finelt":
        _without(where, item, ("metric", "arguments", "mustBe"))
        match = RULE.fullmatch(str(item.get("implementation")))
        if product := PRODUCT.fullmatch(str(item.get("implementation"))):
            return _product(where, product, severity)
        if match is None:
            raise ContractError(f"{where}: {item.get('implementation')!r} is no rule; expected one such as low <= close")
        return Rule(match[1], match[2], match[3], severity)
    if kind == "library":
        _without(where, item, ("engine", "implementation"))
        metrics = ("duplicateValues",) if where == "schema" else ("nullValues", "invalidValues", "duplicateValues")
        if item.get("metric") not in metrics:
            raise ContractError(f"{where}: the metric {item.get('metric')!r} is not implemented here; choose one of {', '.join(metrics)}")
        if item.get("mustBe") != 0:
            raise ContractError(
                f"{where}: the metric {item['metric']} must have mustBe: 0; rows are judged one by one, and no other is kept"
            )
        return item
    raise ContractError(
        f"{where}: quality of type {kind!r} and engine {item.get('engine')!r} is not implemented; "
        "write type: library, or type: custom with engine: finelt"
    )


def _without(where: str, item: Mapping[str, Any], keys: Sequence[str]) -> None:
    if wrong := [key for key in keys if key in item]:
        raise ContractError(f"{where}: quality of type {item.get('type', 'library')} has no key {wrong[0]!r}; remove it")


def _uniques(columns: Sequence[tuple[Field, int | None]], rules: Sequence[Mapping[str, Any]]) -> tuple[tuple[str, ...], ...]:
    """What else than the key no two rows share, as columns."""
    names = {field.name for field, _ in columns}
    found = [(field.name,) for field, _ in columns if field.unique]
    for rule in rules:
        if rule.get("severity", "quarantine") != "quarantine":
            raise ContractError(f"schema: a repeated row is quarantined; severity {rule['severity']} of duplicateValues is not implemented")
        arguments = _keys("schema: arguments of duplicateValues", rule.get("arguments", {}), {"properties": LIST}, ("properties",))
        together = [_typed("schema: properties of duplicateValues", name, TEXT) for name in arguments["properties"]]
        if not together:
            raise ContractError("schema: properties of duplicateValues is empty; name the columns")
        if unknown := [name for name in together if name not in names]:
            raise ContractError(f"schema: duplicateValues names {unknown[0]!r}, which is no column")
        found.append(tuple(together))
    return tuple(dict.fromkeys(found))


def _latency(items: Sequence[object]) -> int:
    found = {"latency": 1}
    for given in items:
        item = _keys("slaProperties", given, SLA, ("property", "value"))
        name, value, unit = item["property"], item["value"], item.get("unit", "d")
        if name not in ("latency", "frequency"):
            raise ContractError(f"slaProperties: {name!r} is not implemented; remove it, or write latency or frequency")
        if name == "latency" and (unit not in DAYS or not isinstance(value, int) or isinstance(value, bool) or value < 0):
            raise ContractError(f"slaProperties: latency is {value!r} with unit {unit!r}; expected a whole number of days, unit d")
        found[name] = value
    return found["latency"]


def _share(custom: Mapping[str, Any], name: str, default: int | Decimal) -> float:
    value = custom.get(name, default)
    if not 0 <= value <= 1:
        raise ContractError(f"schema: {name} is {value}; expected a share from 0 to 1")
    return float(value)


def _custom(where: str, item: Mapping[str, Any], known: Mapping[str, str], needed: Collection[str] = ()) -> dict[str, Any]:
    """Custom properties by name, each of its type."""
    found: dict[str, Any] = {}
    for given in item.get("customProperties", ()):
        entry = _keys(f"{where}: customProperties", given, CUSTOM, ("property", "value"))
        if entry["property"] in found:
            raise ContractError(f"{where}: the custom property {entry['property']!r} is there twice; keep one of them")
        found[entry["property"]] = entry["value"]
    return _keys(f"{where}: customProperties", found, known, needed)


def _keys(where: str, given: object, known: Mapping[str, str], needed: Collection[str] = ()) -> dict[str, Any]:
    """A mapping of known keys, each with a value of its type. Raises ContractError naming the key."""
    item: dict[str, Any] = _typed(where, given, MAPPING)
    for key, value in item.items():
        if key not in known:
            close = get_close_matches(key, known, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"it takes {', '.join(known) or 'none'}"
            raise ContractError(f"{where} has the key {key!r}, which is not implemented, so that nothing would keep it; remove it ({hint})")
        if known[key]:
            _typed(f"{where}: {key}", value, known[key])
    if missing := [key for key in needed if key not in item]:
        raise ContractError(f"{where} lacks {missing[0]!r}")
    return item


def _typed(where: str, value: object, expected: str) -> Any:  # noqa: ANN401  what the YAML holds
    if not isinstance(value, TYPES[expected]) or (isinstance(value, bool) and expected != BOOLEAN):
        shown = "empty" if value is None else f"a {type(value).__name__}" if isinstance(value, dict | list) else repr(str(value))
        quotes = ", in quotes" if expected == TEXT and value is not None else ""
        raise ContractError(f"{where} is {shown}; expected {expected}{quotes}")
    return value


def _one_of(item: Mapping[str, Any], name: str, offered: Sequence[str], default: Any, where: str = "schema") -> Any:  # noqa: ANN401  a literal
    chosen = item.get(name, default)
    if chosen is not default and chosen not in offered:
        raise ContractError(f"{where}: {name} is {chosen!r}; choose one of {', '.join(offered)}")
    return chosen
