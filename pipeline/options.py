"""What options are where nobody says otherwise. Imports nothing, so the command line is quick."""

from __future__ import annotations

DEFAULT_BATCH_SIZE = 8  # images
DEFAULT_MAX_BYTES = 512 << 20  # of one image file or record
DEFAULT_MAX_FAILURE_RATIO = 0.5
DEFAULT_READS = 32  # at the same time
DEFAULT_TARGET_SIZE = 128 << 20  # bytes of a merged part
DEFAULT_URI_COLUMN = "uri"
