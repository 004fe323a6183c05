"""The image of docs/connectors.md: a tap in an environment of its own, on top of the bridge, hardened as in AWS."""

from __future__ import annotations

import json
import re
import secrets
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from images import docker_cli
from jobs.catalogue import REPOSITORY
from tests.images.containers import SPECS, harden, image, inspected

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.docker

(BRIDGE,) = [spec for spec in SPECS if spec.name == "extract-singer-streams"]
MESSAGES = (
    {"type": "SCHEMA", "stream": "filers", "schema": {"properties": {"cik_str": {}, "ticker": {}, "title": {}}}, "key_properties": []},
    {"type": "RECORD", "stream": "filers", "record": {"cik_str": 320193, "ticker": "AAPL", "title": "Apple Inc."}},
    {"type": "STATE", "value": {"filers": 1}},
)
TAP = f"""#!/tap/bin/python
import sys
assert sys.prefix == "/tap", sys.prefix
print('''{chr(10).join(json.dumps(message) for message in MESSAGES)}''')
"""


def test_a_tap_is_added_to_the_image_as_the_page_says(tmp_path: Path) -> None:
    page = (REPOSITORY / "docs" / "connectors.md").read_text()
    (recipe,) = re.findall(r"^```dockerfile\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    install = "python3 -m pip --python /tap/bin/python install --no-cache-dir -r requirements.txt"
    assert install in recipe
    recipe = recipe.replace(install, "cp /tap-acme /tap/bin/").replace("COPY requirements.txt .", "COPY tap-acme /")
    (tmp_path / "Dockerfile").write_text(recipe)
    (tmp_path / "tap-acme").write_text(TAP)
    (tmp_path / "tap-acme").chmod(0o755)
    (tmp_path / "contracts").mkdir()
    shutil.copy(REPOSITORY / "jobs/extract-sec-filers/extract_sec_filers/sec_filers.odcs.yaml", tmp_path / "contracts")
    name = f"finelt-test-tap-{secrets.token_hex(4)}"
    base = inspected(BRIDGE)["Config"]["Labels"]["org.opencontainers.image.base.name"]
    docker_cli.docker("build", "--quiet", "-t", name, "--build-arg", f"JOB={image(BRIDGE)}", "--build-arg", f"BASE={base}", str(tmp_path))
    try:
        words = ["--lake", "/tmp/lake", "--connection", "acme", "--stream", "filers=sec_filers"]  # noqa: S108  in the container
        command = [docker_cli.find_client(), "run", "--rm", "--network", "none", *harden(BRIDGE.tmp_mib), name, "run", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        receipt = json.loads(done.stdout)
        assert (receipt["status"], receipt["rows"], done.returncode) == ("done", 1, 0), done.stderr
    finally:
        docker_cli.docker("rmi", "--force", name)
