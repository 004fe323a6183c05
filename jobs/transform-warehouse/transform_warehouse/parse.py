"""Parse a dbt project beforehand: `python -m transform_warehouse.parse PROJECT`, once, when an image is built."""

from __future__ import annotations

import sys

from transform_warehouse import project

if __name__ == "__main__":
    sys.stdout.write(f"{project.keep_parse(project.find(sys.argv[1]))}\n")
