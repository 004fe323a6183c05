"""The pages of a version, rendered from frames and file descriptions. Uses no clock and no network, and no files but the templates.

Links to files of the same version start with `./` so that `publication.rewrite_links` can copy the page one folder up.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from publish_marts import html_tables, sections
from publish_marts.html_tables import Header, Table, build_headers
from publish_marts.publication import PublicationTerms
from publish_marts.sections import Section

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from publish_marts.export import ExportedMart
    from publish_marts.frames import Frames
    from publish_marts.row_changes import RowChanges

SAMPLE_ROWS = 20
_FILE_FORMATS = ("parquet", "csv", "json")
_SIZE_HEADERS = ("Rows", "Parquet", "CSV", "JSON")
_GRAIN_HEADER = "One row per"
_WITHDRAWN_NOTE = "These tables were removed from this version, together with the charts and figures drawn from them."
_FILES_NOTE = (
    "Each table is available as Parquet, CSV and JSON with the same rows. A period without an end has the end date 9999-12-31. In CSV, an "
    "empty cell is a null, and text that a spreadsheet would run as a formula is prefixed with an apostrophe. "
    "SHA256SUMS and catalogue.json list the checksums."
)


@dataclass(frozen=True)
class VersionInfo:
    """What the pages state about their version. `as_of` (UTC) is set if the marts were built as of a moment in the past."""

    id: str
    previous: str | None
    docs: bool
    as_of: str | None
    changes: Mapping[str, RowChanges]
    terms: PublicationTerms


def render_pages(version: VersionInfo, exported: Sequence[ExportedMart], frames: Frames) -> dict[str, bytes]:
    """Render the pages of a version. Return them by their key within the version."""
    known_at = version.as_of or max(frames.freshness["last_known"], default=None)
    shared = {"version": version, "known_at": known_at, "sources": _source_names(version.terms.sources)}
    all_sections = [*sections.build_sections(frames), *_publication_sections(version, exported)]
    pages = {"index.html": _render_template("index.html.j2", **shared, sections=all_sections)}
    for exported_mart in exported:
        pages[f"marts/{exported_mart.mart.name}.html"] = _render_template("mart.html.j2", **shared, **_mart_context(exported_mart))
    return pages


def _publication_sections(version: VersionInfo, exported: Sequence[ExportedMart]) -> list[Section]:
    """Build the sections about the publication itself: changes, files, what was not published, sources."""
    lead = f"Compared with version {version.previous}." if version.previous else "This is the first publication, so every row is new."
    counts = ("Rows", "Added", "Removed", "Changed")
    change_rows, file_rows = [], []
    for exported_mart in exported:
        mart = exported_mart.mart
        name, rows = _mart_link(mart.name), html_tables.format_count(exported_mart.rows)
        change_rows.append([name, rows, *_format_changes(version.changes[mart.name])])
        file_rows.append([name, rows, *_exported_file_links(exported_mart), html_tables.extract_grain(mart.description)])
    changes_table = Table("Rows changed since the previous publication", build_headers("Table", *counts, numbers=counts), change_rows)
    return [
        Section("changes", "Changes", lead, tables=(changes_table,)),
        Section("files", "Files", _FILES_NOTE, tables=(_files_table(file_rows),)),
        *_terms_sections(version.terms),
    ]


def render_withdrawn_page(catalogue: Mapping[str, Any], *, docs: bool) -> bytes:
    """Render the page of a version from which marts were withdrawn. It has no charts: they may have shown the withdrawn figures."""
    terms = _read_terms(catalogue)
    version = VersionInfo(catalogue["version"], catalogue["previous"], docs, None, {}, terms)
    file_rows = [
        [
            _mart_link(name),
            html_tables.format_count(mart["rows"]),
            *_catalogue_file_links(mart["files"]),
            html_tables.extract_grain(mart["description"]),
        ]
        for name, mart in catalogue["marts"].items()
    ]
    withdrawn_table = Table("Withdrawn tables", build_headers("Table"), [[name] for name in catalogue["withdrawn"]])
    all_sections = [
        Section("withdrawn", "Withdrawn", _WITHDRAWN_NOTE, tables=(withdrawn_table,)),
        Section("files", "Files", _FILES_NOTE, tables=(_files_table(file_rows),)),
        *_terms_sections(terms),
    ]
    return _render_template("index.html.j2", version=version, known_at=None, sources=_source_names(terms.sources), sections=all_sections)


def _files_table(rows: Sequence[Sequence[str]]) -> Table:
    return Table("Files", build_headers("Table", *_SIZE_HEADERS, _GRAIN_HEADER, numbers=_SIZE_HEADERS, prose=(_GRAIN_HEADER,)), rows)


def _read_terms(catalogue: Mapping[str, Any]) -> PublicationTerms:
    """Read the terms in a catalogue. Catalogues written before terms existed have none."""
    return PublicationTerms(catalogue.get("audience", "internal"), catalogue.get("left_out", {}), catalogue.get("sources", ()))


def _terms_sections(terms: PublicationTerms) -> list[Section]:
    """Build the sections on what was not published and on the sources. A section without rows is omitted."""
    not_published = Table(
        "Not published", build_headers("Data", "Reason", prose=("Reason",)), [list(item) for item in terms.left_out.items()]
    )
    source_headers = build_headers("Dataset", "Source", "Licence", "Redistribution", prose=("Source", "Licence"))
    source_rows = [
        [source["dataset"], source["source"], source["licence"], source["redistribution"].replace("-", " ")] for source in terms.sources
    ]
    audience = f"The audience of this site is {terms.audience}."
    all_sections = (
        Section("not-published", "Not published", f"{audience} The terms of the data below do not allow it.", tables=(not_published,)),
        Section("sources", "Sources and terms", audience, tables=(Table("Sources", source_headers, source_rows),)),
    )
    return [section for section in all_sections if section.tables[0].rows]


def _source_names(sources: Sequence[Mapping[str, str]]) -> list[str]:
    """List each source once, without a full stop at the end."""
    return list(dict.fromkeys(source["source"].rstrip(".") for source in sources if source["source"]))


def _format_changes(changes: RowChanges) -> list[str]:
    return [html_tables.format_count(count) if count else html_tables.EMPTY for count in (changes.added, changes.removed, changes.changed)]


def _mart_link(mart: str) -> Markup:
    return Markup('<a href="./marts/{0}.html">{0}</a>').format(mart)


def _exported_file_links(exported_mart: ExportedMart) -> list[Markup]:
    link = Markup('<a href="./marts/{}" download>{}</a>')
    return [link.format(file.path.name, html_tables.format_size(file.bytes)) for file in exported_mart.files]


def _catalogue_file_links(files: Mapping[str, Any]) -> list[Markup]:
    link = Markup('<a href="./{}" download>{}</a>')
    return [link.format(files[name]["path"], html_tables.format_size(files[name]["bytes"])) for name in _FILE_FORMATS]


def _mart_context(exported_mart: ExportedMart) -> dict[str, Any]:
    """Build what the page of a mart shows."""
    mart, code, link = exported_mart.mart, Markup("<code>{}</code>"), Markup('<a href="./{0}" download>{0}</a>')
    columns = [[code.format(column.name), column.type, column.description or html_tables.EMPTY] for column in mart.columns]
    files = [[link.format(file.path.name), html_tables.format_size(file.bytes), code.format(file.sha256)] for file in exported_mart.files]
    return {
        "mart": mart,
        "rows": html_tables.format_count(exported_mart.rows),
        "files": Table("Files", build_headers("File", "Size", "SHA-256", numbers=("Size",)), files),
        "columns": Table("Columns", build_headers("Column", "Type", "Description", prose=("Description",)), columns),
        "sample": _sample_table(exported_mart),
    }


def _sample_table(exported_mart: ExportedMart) -> Table:
    """Show the first rows as they are in the CSV file."""
    import pandas as pd  # noqa: PLC0415

    frame = pd.read_csv(exported_mart.path("csv"), nrows=SAMPLE_ROWS, dtype=str, keep_default_na=False)
    headers = tuple(Header(column.name, number=html_tables.is_numeric(column.type)) for column in exported_mart.mart.columns)
    return Table(f"First {min(exported_mart.rows, SAMPLE_ROWS)} rows", headers, frame.to_numpy().tolist())


def _render_template(template: str, **context: Any) -> bytes:  # noqa: ANN401
    return f"{_load_environment().get_template(template).render(**context)}\n".encode()


@cache
def _load_environment() -> Environment:
    templates = FileSystemLoader(Path(__file__).parent / "templates")
    return Environment(loader=templates, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
