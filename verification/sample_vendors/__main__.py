"""Run the sample vendors: print the base URL on one line and serve until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

STOPS = {signal.SIGTERM, signal.SIGINT}


def main() -> None:
    """Serve until a signal arrives. The signals are blocked in all other threads."""
    options = argparse.ArgumentParser(prog="sample_vendors", description=__doc__)
    options.add_argument("--host", default="127.0.0.1", help="address to listen at; 0.0.0.0 in a container")
    options.add_argument("--port", type=int, default=0, help="0 chooses a free one")
    given = options.parse_args()
    host, port = given.host, given.port
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    try:
        with run_server(port, host) as url:
            print(url, flush=True)
            signal.sigwait(STOPS)
    except OSError as error:
        sys.exit(f"sample_vendors: cannot listen on {host}:{port} ({error.strerror}); --port 0 takes a free port")


if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[2])
    from verification.sample_vendors.server import run_server

    main()
