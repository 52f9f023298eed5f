"""What the process has imported whose forks are the servers of the tests: what `hangtag serve` imports."""

from __future__ import annotations

import os

from hangtag.optional import hide_notebooks_from_keras, require

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # as the command chooses for small models, before the import
hide_notebooks_from_keras()
require("tensorflow", extra="serving", what="hangtag serve")
import hangtag_serving.server.process  # noqa: E402, F401
import prestarted  # noqa: E402, F401
