"""What the standard library's zipfile raises for an archive that is damaged, encrypted or packed in an unknown way."""

from __future__ import annotations

import lzma
import struct
import zipfile
import zlib

# An unknown compression is a RuntimeError. OSError is left to those who read from memory: elsewhere the disk may be meant.
UNZIP_ERRORS = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, RuntimeError, ValueError)
