"""The pages: frames and facts about files in, HTML out. No clock, no network, no disk but the templates beside this file.

Links to files of the same version are written `href="./...`, so that the page can be put one folder up (see `publication.landing`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from publish_marts import html_tables, sections
from publish_marts.html_tables import Header, Table, headers
from publish_marts.publication import About

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from publish_marts.export import Exported
    from publish_marts.frames import Frames
    from publish_marts.row_changes import Changes
    from publish_marts.sections import Section

SAMPLE_ROWS = 20


@dataclass(frozen=True)
class Version:
    """What a page says of the publication it belongs to. `as_of` is set where the marts are of a moment in the past, UTC."""

    id: str
    previous: str | None
    docs: bool
    as_of: str | None
    changes: Mapping[str, Changes]
    about: About


def render(version: Version, exported: Sequence[Exported], frames: Frames) -> dict[str, bytes]:
    """The pages of a version by their key below it."""
    known_at = version.as_of or max(frames.freshness["last_known"], default=None)
    shared = {"version": version, "known_at": known_at, "sources": _origins(version.about.sources)}
    body = [*sections.of_frames(frames), *_publication(version, exported)]
    pages = {"index.html": _html("index.html.j2", **shared, sections=[section for section in body if section])}
    for one in exported:
        pages[f"marts/{one.mart.name}.html"] = _html("mart.html.j2", **shared, **_mart(one))
    return pages


def _publication(version: Version, exported: Sequence[Exported]) -> list[Section]:
    """What changed, and the files."""
    lead = f"Compared with version {version.previous}." if version.previous else "This is the first publication: everything is new."
    counts = ("Rows", "Added", "Removed", "Changed")
    changes = [[_link(one.mart.name), html_tables.count(one.rows), *_told(version.changes[one.mart.name])] for one in exported]
    sizes = ("Rows", "Parquet", "CSV", "JSON")
    files = [
        [_link(one.mart.name), html_tables.count(one.rows), *_downloads(one), html_tables.grain(one.mart.description)] for one in exported
    ]
    changed = Table("Rows since the last publication", headers("Mart", *counts, numbers=counts), changes)
    offered = Table("Files", headers("Mart", *sizes, _GRAIN, numbers=sizes, prose=(_GRAIN,)), files)
    return [
        sections.Section("changes", "What changed", lead, tables=(changed,)),
        sections.Section("files", "Files", _FILES, tables=(offered,)),
        *_terms(version.about),
    ]


def withdrawn(document: Mapping[str, Any], *, docs: bool) -> bytes:
    """The page of a version of which a mart was withdrawn: its figures may have been drawn from it, so they are gone with it."""
    version = Version(document["version"], document["previous"], docs, None, {}, _about(document))
    sizes = ("Rows", "Parquet", "CSV", "JSON")
    rows = [
        [_link(name), html_tables.count(mart["rows"]), *_listed(mart["files"]), html_tables.grain(mart["description"])]
        for name, mart in document["marts"].items()
    ]
    gone = Table("Withdrawn", headers("Mart"), [[name] for name in document["withdrawn"]])
    offered = Table("Files", headers("Mart", *sizes, _GRAIN, numbers=sizes, prose=(_GRAIN,)), rows)
    body = [
        sections.Section("withdrawn", "Withdrawn", _WITHDRAWN, tables=(gone,)),
        sections.Section("files", "Files", _FILES, tables=(offered,)),
        *_terms(version.about),
    ]
    return _html("index.html.j2", version=version, known_at=None, sources=_origins(version.about.sources), sections=body)


def _about(document: Mapping[str, Any]) -> About:
    """What a catalogue says of a publication; versions from before there were terms say nothing."""
    return About(document.get("audience", "internal"), document.get("left_out", {}), document.get("sources", ()))


def _terms(about: About) -> list[Section]:
    """What is left out and why, and under which terms the rest may be used."""
    heads = headers("Dataset", "Source", "Licence", "Redistribution", prose=("Source", "Licence"))
    rows = [[one["dataset"], one["source"], one["licence"], one["redistribution"].replace("-", " ")] for one in about.sources]
    left_out = Table("Left out", headers("What", "Why", prose=("Why",)), [[what, why] for what, why in about.left_out.items()])
    made = [
        sections.Section("left-out", "Left out", f"What may not be seen by this site's audience, {about.audience}.", tables=(left_out,)),
        sections.Section(
            "sources", "Sources and terms", f"This site is for the audience {about.audience}.", tables=(Table("Sources", heads, rows),)
        ),
    ]
    return [section for section in made if section.tables[0].rows]


def _origins(sources: Sequence[Mapping[str, str]]) -> list[str]:
    """Each source once, without the full stop."""
    return list(dict.fromkeys(one["source"].rstrip(".") for one in sources if one["source"]))


_GRAIN = "One row per"
_WITHDRAWN = "These marts are no longer part of this version, and neither are the figures that its page showed."
_FILES = (
    "Each mart whole, in three formats that say the same. An open end of validity is 9999-12-31. In CSV an empty cell is null, and a "
    "text that a spreadsheet would run as a formula has an apostrophe in front. SHA256SUMS and catalogue.json have the digests."
)


def _told(changes: Changes) -> list[str]:
    return [html_tables.count(number) if number else html_tables.NOTHING for number in (changes.added, changes.removed, changes.changed)]


def _link(mart: str) -> Markup:
    return Markup('<a href="./marts/{0}.html">{0}</a>').format(mart)


def _downloads(one: Exported) -> list[Markup]:
    link = Markup('<a href="./marts/{}" download>{}</a>')
    return [link.format(file.path.name, html_tables.size(file.bytes)) for file in one.files]


def _listed(files: Mapping[str, Any]) -> list[Markup]:
    link = Markup('<a href="./{}" download>{}</a>')
    return [link.format(files[name]["path"], html_tables.size(files[name]["bytes"])) for name in ("parquet", "csv", "json")]


def _mart(one: Exported) -> dict[str, Any]:
    """What the page of a mart shows."""
    code = Markup("<code>{}</code>")
    columns = [[code.format(column.name), column.type, column.description or html_tables.NOTHING] for column in one.mart.columns]
    link = Markup('<a href="./{0}" download>{0}</a>')
    files = [[link.format(file.path.name), html_tables.size(file.bytes), code.format(file.sha256)] for file in one.files]
    return {
        "one": one,
        "rows": html_tables.count(one.rows),
        "files": Table("Files", headers("File", "Size", "SHA-256", numbers=("Size",)), files),
        "columns": Table("Columns", headers("Column", "Type", "Meaning", prose=("Meaning",)), columns),
        "sample": _sample(one),
    }


def _sample(one: Exported) -> Table:
    """The first rows as they stand in the CSV."""
    import pandas as pd  # noqa: PLC0415

    frame = pd.read_csv(one.path("csv"), nrows=SAMPLE_ROWS, dtype=str, keep_default_na=False)
    heads = tuple(Header(column.name, number=html_tables.is_number(column.type)) for column in one.mart.columns)
    return Table(f"First {min(one.rows, SAMPLE_ROWS)} rows", heads, frame.to_numpy().tolist())


def _html(template: str, **context: Any) -> bytes:  # noqa: ANN401
    return f"{_environment().get_template(template).render(**context)}\n".encode()


@cache
def _environment() -> Environment:
    templates = FileSystemLoader(Path(__file__).parent / "templates")
    return Environment(loader=templates, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
