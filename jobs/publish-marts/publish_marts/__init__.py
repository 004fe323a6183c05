"""Publish the marts that an audience may see, as Parquet, CSV and JSON files and a static site.

__main__        options and verbs
selection       which marts and rows may be published; terms: the rules for that
warehouse       queries in one snapshot; prefetch: fetches a result in the background
export          a mart as Parquet, CSV and JSON; row_changes: its changes since the previous version
pages           the HTML pages, from frames (their data), sections (their parts), charts, html_tables and templates/
publication     the versions of a site and the pointer to the current one; withdrawal: removes them again
site            the command scripts/site
"""
