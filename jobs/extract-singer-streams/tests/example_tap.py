"""A tap for the tests: it sends the lines of the file that its config names.

config: messages (path), exit_code, token (logged, as careless taps do).
"""

import argparse
import json
import sys
from pathlib import Path

parser = argparse.ArgumentParser()
for name in ("--config", "--state", "--catalog"):
    parser.add_argument(name, type=Path)
parser.add_argument("--discover", action="store_true")
arguments = parser.parse_args()
config = json.loads(arguments.config.read_text())
sys.stderr.write(f"logged in with {config.get('token')}\n")
if arguments.discover:
    sys.stdout.write('{"streams": []}')
else:
    if arguments.state:
        sys.stderr.write(f"resumed from {arguments.state.read_text()}\n")
    sys.stdout.write(Path(config["messages"]).read_text())
    sys.stderr.write("the end\n")
sys.exit(config.get("exit_code", 0))
