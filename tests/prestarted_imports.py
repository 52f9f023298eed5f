"""What the process has imported whose forks are the commands of the tests: what `hangtag serve` and `export` import."""

from __future__ import annotations

import os

from hangtag.optional import hide_unused_packages, require

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # as the command chooses for small models, before the import
hide_unused_packages()
require("tensorflow", extra="serving", what="hangtag serve")
require("keras", extra="export", what="hangtag export")
import hangtag_serving.server.process  # noqa: E402, F401
import prestarted  # noqa: E402, F401
