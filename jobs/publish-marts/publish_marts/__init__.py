"""Publish the marts that an audience may see, as Parquet, CSV and JSON files and a static site.

__main__        options and verbs
selection       which marts and rows may be published; terms: the rules for that
warehouse       queries in one snapshot; prefetch: fetches a result in the background
export          a mart as Parquet, CSV and JSON; row_changes: its changes since the previous version
pages           the HTML pages, from frames (their data), sections (their parts), charts, html_tables, links and templates/
chart_data      the data of a chart as CSV and for its interactive form
web             the style sheet and scripts: assets/ and what ../web builds from npm packages, with the SQL console
publication     the versions of a site and the pointer to the current one; withdrawal: removes them again
site            the command scripts/site
"""
