#!/usr/bin/env bash
# exchange_calendars 4.13.2 loses every trading Saturday where it runs with pandas 3.1.1, without an error or a warning. With pandas 2.3.3 the same version has them.
#
# Its Bombay calendar lists the special sessions of 2024-01-20 and 2025-02-01 (Union Budget) in special_weekmasks, and its Moscow calendar knows 19 trading Saturdays since 2007; the package allows both
# versions of pandas. A completeness check or an as-of join on its sessions drops the prices of those days.
# Seen: with pandas 2.3.3 Bombay 2, Moscow 19 Saturdays; with pandas 3.1.1 none in either.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat >"$work/saturdays.py" <<'PY'
import warnings

import exchange_calendars
import pandas

warnings.simplefilter("ignore")  # deprecations inside the package
for name in ("XBOM", "XMOS"):
    calendar = exchange_calendars.get_calendar(name, start="2007-01-01", end="2026-06-30")
    saturdays = [session.date().isoformat() for session in calendar.sessions if session.weekday() == 5]
    print(f"pandas {pandas.__version__} {name}: {len(saturdays)} {saturdays[-2:]}")
PY
for pandas in 2.3.3 3.1.1; do
  python3 -m venv "$work/$pandas"
  "$work/$pandas/bin/pip" install --quiet --disable-pip-version-check exchange_calendars==4.13.2 pandas=="$pandas"
  "$work/$pandas/bin/python" "$work/saturdays.py"
done | tee "$work/seen"
diff "$work/seen" - <<'TXT'
pandas 2.3.3 XBOM: 2 ['2024-01-20', '2025-02-01']
pandas 2.3.3 XMOS: 19 ['2024-11-02', '2024-12-28']
pandas 3.1.1 XBOM: 0 []
pandas 3.1.1 XMOS: 0 []
TXT
