"""The pages of a version, rendered from frames and file descriptions. Uses no clock and no network, and no files but the templates.

    index.html                      charts and figures, freshness, changes, files
    securities.html, quality.html   all securities that have a page; tests, runs, coverage and known problems
    securities/, datasets/, runs/   a page per security, dataset and build of the marts
    marts/<mart>.html               newest rows, columns, lineage and files of a mart

Links to files of the same version start with `./`, also on pages in a folder, until `links.move_links` rewrites them, and so that
`publication.rewrite_links` can copy the landing page one folder up.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from publish_marts import chart_data, html_tables, links, sections, web
from publish_marts.html_tables import Header, Table, build_headers
from publish_marts.publication import PublicationTerms
from publish_marts.sections import Section

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from publish_marts.export import ExportedMart
    from publish_marts.frames import Frames
    from publish_marts.row_changes import RowChanges

_FILE_FORMATS = ("parquet", "csv", "json")
_SIZE_HEADERS = ("Rows", "Parquet", "CSV", "JSON")
_GRAIN_HEADER = "One row per"
_WITHDRAWN_NOTE = "These tables were removed from this version, together with the charts and figures drawn from them."
_FILES_NOTE = (
    "Each table is available as Parquet, CSV and JSON with the same rows. A period without an end has the end date 9999-12-31. In CSV, an "
    "empty cell is a null, and text that a spreadsheet would run as a formula is prefixed with an apostrophe. "
    "SHA256SUMS and catalogue.json list the checksums."
)


class Example(NamedTuple):
    """A query for the SQL console, and the marts that it reads."""

    title: str
    marts: tuple[str, ...]
    sql: str


EXAMPLES = (
    Example(
        "The slope of the curve on the newest days",
        ("fct_curve_spread",),
        "select curve_date, spread_2s10s_bp, spread_3m10y_bp\nfrom fct_curve_spread\norder by curve_date desc\nlimit 10",
    ),
    Example(
        "Total return of each security by year",
        ("fct_return_daily",),
        "select\n    ticker,\n    year(trade_date) as year,\n    round(100 * (exp(sum(return_total_log)) - 1), 1) as return_pct\n"
        "from fct_return_daily\ngroup by all\norder by all",
    ),
    Example(
        "The largest restatements",
        ("fct_restatement",),
        "select known_date, subject, item, period_end, value_before, value_after, round(100 * change, 1) as change_pct\n"
        "from fct_restatement\norder by abs(change) desc nulls last\nlimit 20",
    ),
    Example(
        "Revenue as it was known on 2011-06-30; change the day to see it restated",
        ("fct_fundamental",),
        "select cik, period_start, period_end, value, known_from, known_to\nfrom fct_fundamental\nwhere concept = 'revenue'\n"
        "    and known_from <= date '2011-06-30' and known_to > date '2011-06-30'\norder by cik, period_end desc\nlimit 20",
    ),
    Example(
        "Prices with the yield of the same day",
        ("fct_price_daily", "fct_yield"),
        "select trade_date, ticker, close, yield_pct\nfrom fct_price_daily\njoin fct_yield on curve_date = trade_date and tenor = '10Y'\n"
        "order by trade_date desc, ticker\nlimit 20",
    ),
)


@dataclass(frozen=True)
class VersionInfo:
    """What the pages state about their version. `as_of` (UTC) is set if the marts were built as of a moment in the past.

    `lineage` is that of the transform. If marts were `withdrawn`, the landing page is the only one left besides those of marts.
    """

    id: str
    previous: str | None
    docs: bool
    as_of: str | None
    changes: Mapping[str, RowChanges]
    terms: PublicationTerms
    lineage: Mapping[str, Any] = field(default_factory=dict)
    withdrawn: bool = False


def render_pages(version: VersionInfo, exported: Sequence[ExportedMart], frames: Frames) -> dict[str, bytes]:
    """Render the pages of a version. Return them by their key within the version."""
    return _Renderer(version, exported, frames).render()


class _Renderer:
    """Renders the pages of one version."""

    def __init__(self, version: VersionInfo, exported: Sequence[ExportedMart], frames: Frames) -> None:
        self.version, self.exported, self.frames = version, exported, frames
        self.marts = [exported_mart.mart.name for exported_mart in exported]
        self.datasets = list(frames.freshness["dataset"])
        self.test_results = sections.find_last_results(frames.runs, self._select_tests)
        known_at = version.as_of or max(frames.freshness["last_known"], default=None)
        self.shared = {"version": version, "known_at": known_at, "sources": _source_names(version.terms.sources)}

    def render(self) -> dict[str, bytes]:
        """Render all pages."""
        landing = [*sections.build_landing(self.frames), *_publication_sections(self.version, self.exported)]
        pages = {
            **web.read_assets(),
            "index.html": self._render("index.html", "index.html.j2", sections=landing),
            "securities.html": self._render_sections("securities.html", "Securities", "", sections.build_securities(self.frames)),
            "quality.html": self._render_sections("quality.html", "Data quality", "", self._build_quality()),
        }
        pages["sql.html"] = self._render("sql.html", "sql.html.j2", **self._sql_context())
        for exported_mart in self.exported:
            name = links.name_page("marts", exported_mart.mart.name)
            pages[name] = self._render(name, "mart.html.j2", **self._mart_context(exported_mart))
        for security_id in sections.list_securities(self.frames):
            ticker, lead = sections.find_ticker(self.frames, security_id), sections.describe_security(self.frames, security_id)
            name, security_sections = links.name_page("securities", security_id), sections.build_security(self.frames, security_id)
            pages[name] = self._render_sections(name, ticker, lead, security_sections)
            pages |= _build_chart_files(name, security_sections)
        for dataset in self.datasets:
            dataset_sections = sections.build_dataset(self.frames, dataset, self.version.lineage, self.marts)
            name = links.name_page("datasets", dataset)
            pages[name] = self._render_sections(name, dataset, "", dataset_sections)
        for run in self.frames.runs:
            name = links.name_page("runs", str(run["transform_id"]))
            run_sections = sections.build_run(run, self.frames, self._select_tests(run), self.marts)
            pages[name] = self._render_sections(name, f"Build {run['transform_id']}", sections.describe_run(run), run_sections)
        return {**pages, **_build_chart_files("index.html", landing)}

    def _sql_context(self) -> dict[str, Any]:
        """Build what the page of the SQL console shows."""
        rows = [
            [_mart_link(mart.name), ", ".join(column.name for column in mart.columns)]
            for mart in (exported.mart for exported in self.exported)
        ]
        tables = Table("Tables", build_headers("Table", "Columns", prose=("Columns",)), rows)
        examples = [example for example in EXAMPLES if set(example.marts) <= set(self.marts)]
        return {"console": web.name_console(), "tables": tables, "examples": examples}

    def _build_quality(self) -> list[Section]:
        all_sections = [
            sections.build_freshness(self.frames),
            sections.build_problems(self.frames),
            sections.build_runs(self.frames.runs, self._select_tests),
            sections.build_coverage(self.frames.coverage),
            sections.build_tests(self.test_results, self.marts),
        ]
        return [section for section in all_sections if section]

    def _select_tests(self, run: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        return sections.select_tests(run, self.marts, self.datasets)

    def _render_sections(self, name: str, title: str, lead: str, page_sections: Sequence[Section]) -> bytes:
        page = Path(name).stem
        return self._render(name, "sections.html.j2", title=title, lead=lead, page=page, sections=page_sections)

    def _render(self, name: str, template: str, **context: Any) -> bytes:  # noqa: ANN401
        page = _render_template(template, **self.shared, **context)
        return links.move_links(page) if "/" in name else page

    def _mart_context(self, exported_mart: ExportedMart) -> dict[str, Any]:
        """Build what the page of a mart shows."""
        mart, code = exported_mart.mart, Markup("<code>{}</code>")
        link = Markup('<a href="./marts/{0}" download>{0}</a>')
        fields = self.version.lineage.get("fields", {}).get(mart.name, {})
        columns = [
            [
                code.format(column.name),
                column.type,
                column.description or html_tables.EMPTY,
                sections.format_fields(fields.get(column.name, ()), self.datasets),
            ]
            for column in mart.columns
        ]
        column_headers = build_headers("Column", "Type", "Description", "Made from", prose=("Description", "Made from"))
        files = [
            [link.format(file.path.name), html_tables.format_size(file.bytes), code.format(file.sha256)] for file in exported_mart.files
        ]
        lineage = sections.build_lineage(mart.name, self.version.lineage, self.datasets)
        tests = sections.build_tests([(run, test) for run, test in self.test_results if mart.name in test["marts"]], self.marts)
        return {
            "mart": mart,
            "rows": html_tables.format_count(exported_mart.rows),
            "files": Table("Files", build_headers("File", "Size", "SHA-256", numbers=("Size",)), files),
            "columns": Table("Columns", column_headers, columns),
            "sample": self._sample_table(exported_mart),
            "sections": [section for section in (lineage, tests) if section],
        }

    def _sample_table(self, exported_mart: ExportedMart) -> Table:
        """Show the newest rows."""
        mart = exported_mart.mart
        headers = tuple(Header(column.name, number=html_tables.is_numeric(column.type)) for column in mart.columns)
        rows = [[html_tables.format_cell(cell) for cell in row] for row in self.frames.samples[mart.name]]
        return Table(f"Newest {len(rows)} rows", headers, rows)


def _build_chart_files(page: str, page_sections: Sequence[Section]) -> dict[str, bytes]:
    """Build the data of the charts of a page, as the template links it."""
    charts = [figure.chart for section in page_sections for figure in section.figures if figure.chart]
    files = [chart_data.build_files(f"charts/{Path(page).stem}-{chart.name}", chart) for chart in charts]
    return {key: content for chart_files in files for key, content in chart_files.items()}


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


def render_withdrawn_pages(catalogue: Mapping[str, Any], *, docs: bool) -> dict[str, bytes]:
    """Render the pages of a version from which marts were withdrawn. They have no figures: they may have been those of a withdrawn mart."""
    terms = _read_terms(catalogue)
    version = VersionInfo(catalogue["version"], catalogue["previous"], docs, None, {}, terms, withdrawn=True)
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
    context = {"version": version, "known_at": None, "sources": _source_names(terms.sources)}
    page = _render_template("index.html.j2", **context, sections=all_sections)
    return {**web.read_assets(), "index.html": page}


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
    return links.link_page("marts", mart)


def _exported_file_links(exported_mart: ExportedMart) -> list[Markup]:
    link = Markup('<a href="./marts/{}" download>{}</a>')
    return [link.format(file.path.name, html_tables.format_size(file.bytes)) for file in exported_mart.files]


def _catalogue_file_links(files: Mapping[str, Any]) -> list[Markup]:
    link = Markup('<a href="./{}" download>{}</a>')
    return [link.format(files[name]["path"], html_tables.format_size(files[name]["bytes"])) for name in _FILE_FORMATS]


def _render_template(template: str, **context: Any) -> bytes:  # noqa: ANN401
    return f"{_load_environment().get_template(template).render(**context)}\n".encode()


@cache
def _load_environment() -> Environment:
    templates = FileSystemLoader(Path(__file__).parent / "templates")
    return Environment(loader=templates, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
