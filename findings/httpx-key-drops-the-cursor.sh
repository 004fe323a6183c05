#!/usr/bin/env bash
# In httpx 0.28.1 and httpx2 2.16.2 a key among the client's params removes the query of a link: /rows?cursor=2 is requested as /rows?key=K.
#
# Vendors take a key as a query parameter and send the next page as a link. Client(params={"key": "K"}).get(link) loses the cursor, so the first page comes again with status 200, and a loop
# that follows the links never ends or doubles rows. params of get() are merged with those of the client, but they too replace the query of the URL. requests 2.34.2 keeps both.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check httpx==0.28.1 httpx2==2.16.2 requests==2.34.2
"$work/venv/bin/python" - <<'PY'
import httpx
import httpx2
import requests

LINK = "https://vendor.example/rows?cursor=2"
KEY = {"key": "K"}


def follow(library):
    """Return the URLs that are requested for a link and for the same cursor as a parameter."""
    requested = []

    def answer(request):
        requested.append(str(request.url))
        return library.Response(200, json={"rows": []})

    with library.Client(params=KEY, transport=library.MockTransport(answer)) as client:
        client.get(LINK)
        client.get("https://vendor.example/rows", params={"cursor": "2"})
    return requested


for library in (httpx, httpx2):
    link, parameter = follow(library)
    print(f"{library.__name__} {library.__version__}: the link {LINK} is requested as {link}, the parameter as {parameter}")
    assert link == "https://vendor.example/rows?key=K"
    assert parameter == "https://vendor.example/rows?key=K&cursor=2"
session = requests.Session()
session.params = KEY
kept = session.prepare_request(requests.Request("GET", LINK)).url
print(f"requests {requests.__version__}: {kept}")
assert kept == "https://vendor.example/rows?cursor=2&key=K"
PY
