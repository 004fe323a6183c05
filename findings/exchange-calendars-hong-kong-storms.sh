#!/usr/bin/env bash
# exchange_calendars 4.13.2 has sessions in Hong Kong on 2023-09-01 (typhoon Saola) and 2023-09-08 (black rainstorm), days on which the exchange cancelled all trading. It knows the typhoons of
# 2021-10-13 and 2023-07-17, so one expects closures by weather to be in it.
#
# A check that every session has a price reports two days that cannot be had; a return over sessions counts two days too many.
# Source of the closures: HKEX's announcements of those days, as reported by the South China Morning Post ("second weather disruption in a week", 2023-09-08).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check exchange_calendars==4.13.2 pandas==2.3.3
"$work/venv/bin/python" - <<'PY'
import exchange_calendars

calendar = exchange_calendars.get_calendar("XHKG", start="2021-01-01", end="2024-12-31")
sessions = {day: calendar.is_session(day) for day in ("2021-10-13", "2023-07-17", "2023-09-01", "2023-09-08")}
print(sessions)
assert sessions == {"2021-10-13": False, "2023-07-17": False, "2023-09-01": True, "2023-09-08": True}
PY
