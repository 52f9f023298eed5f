"""What the process has imported whose forks are the commands of the tests: what `hangtag serve` and `export` import."""

from __future__ import annotations

import gc
import os

from hangtag.optional import import_for_commands, require

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # as the command chooses for small models, before the import
import_for_commands()
require("tensorflow", extra="serving", what="hangtag serve")
require("keras", extra="export", what="hangtag export")
import hangtag.cli.main  # noqa: E402, F401
import hangtag_export.pipeline  # noqa: E402, F401
import hangtag_serving.server.process  # noqa: E402, F401
import prestarted  # noqa: E402, F401

gc.freeze()  # otherwise each fork searches all of this for garbage, which takes long and copies the memory
