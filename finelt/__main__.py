"""Run the command `finelt`."""

from finelt.cli import main

main()
