"""Sets TensorFlow's threads and kernels for small models. This is only possible before TensorFlow is loaded.

TensorFlow's defaults suit large models. For a small one, dividing an operation among the cores costs more than it
saves, because requests already run in parallel. And oneDNN's kernels are quicker than Eigen's for convolutions, but
slower for small matrix products. On two cores, a 784-128-10 model takes for 1, 8, 32 and 256 rows: 22, 184, 238 and 859
microseconds with TensorFlow's defaults; 12, 23, 55 and 405 with Eigen's kernels and one thread for each operation.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from ..models.saved_model import LoadOptions
from ..models.version_policy import scan

log = logging.getLogger("hangtag.serving")

_CONVOLUTION = re.compile(rb"(?:Depthwise)?Conv[23]D|DepthwiseConv2dNative")
_SMALL_BYTES = 16 << 20
_ONEDNN = "TF_ENABLE_ONEDNN_OPTS"


def for_small_models(options: LoadOptions, base_paths: Iterable[Path]) -> LoadOptions:
    """`options` for small models, if the models under all `base_paths` are small; also sets the environment.

    Flags and environment variables that are already set stay unchanged.
    """
    if not _all_small(base_paths):
        return options
    os.environ.setdefault(_ONEDNN, "0")
    log.info("all models are small: TensorFlow runs each operation in one thread unless flags choose otherwise")
    return replace(options, intra_op_threads=options.intra_op_threads or 1)


def _all_small(base_paths: Iterable[Path]) -> bool:
    """Whether the newest version of each model is small and has no convolutions; False if a model has no version."""
    sizes = []
    for base_path in base_paths:
        try:
            versions = scan(base_path)
            if not versions:
                return False
            folder = versions[max(versions)]
            sizes.append(sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()))
            if sizes[-1] > _SMALL_BYTES or _CONVOLUTION.search((folder / "saved_model.pb").read_bytes()):
                return False
        except OSError:
            return False
    return bool(sizes)
