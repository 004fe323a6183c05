"""Redaction of everything that leaves a process: output, logs, reports and commits, without known secrets and credentials in URLs.

Every sink writes the result of `redact` or `to_json`, so a secret is masked wherever it appears: in a vendor's error, a traceback, an
ETag. A secret is found in plain text and encoded for URLs, JSON, HTML, base64 and hex, in upper or lower case, cut after its first
half, and split over lines. The decision and its limits: docs/decisions/0013-secret-redaction.md.

Hand-written: the libraries for this mask log records or known patterns; they know neither the process's own secrets nor their encodings.
"""

from jobkit.redaction.echoes import holds_secret
from jobkit.redaction.environment import protect_environment
from jobkit.redaction.known_secrets import MIN_CHARS, protect
from jobkit.redaction.masking import MASK, clean, redact, to_json
from jobkit.redaction.streams import RedactedStream, redact_streams
from jobkit.redaction.url_credentials import mask_urls

__all__ = [
    "MASK",
    "MIN_CHARS",
    "RedactedStream",
    "clean",
    "holds_secret",
    "mask_urls",
    "protect",
    "protect_environment",
    "redact",
    "redact_streams",
    "to_json",
]
