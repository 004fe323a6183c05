"""The jobs that the flow `daily` runs where there is no drop folder, without those that run only if a person asks for them."""

from jobs.catalogue import DROP, ICEBERG, catalogue
from orchestration.local.sample_parameters import build_sample_extracts

SAMPLES = build_sample_extracts("", "")
ON_REQUEST = {spec.name for spec in catalogue() if spec.name.startswith("extract-") and DROP not in spec.reads and spec.name not in SAMPLES}
DAILY = [spec for spec in catalogue() if DROP not in spec.reads and ICEBERG not in spec.writes and spec.name not in ON_REQUEST]
