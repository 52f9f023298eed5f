"""How TensorFlow computes, chosen before it is loaded: afterwards neither of these can be changed.

Its defaults are made for large models. For one that is quick, splitting each operation over the cores costs more than
it saves: requests are what runs in parallel. And oneDNN's kernels, which are quicker than Eigen's for convolutions,
are slower for small matrix products. On two cores, 784-128-10, microseconds for 1, 8, 32 and 256 rows: 22, 184, 238
and 859 by TensorFlow's defaults, 12, 23, 55 and 405 with Eigen's kernels and one thread for an operation.
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
    """`options`, and the environment, made for small models if those under all `base_paths` are small now.

    Flags and variables that are set stay as they are.
    """
    if not _all_small(base_paths):
        return options
    os.environ.setdefault(_ONEDNN, "0")
    log.info("all models are small: TensorFlow runs each operation in one thread unless flags choose otherwise")
    return replace(options, intra_op_threads=options.intra_op_threads or 1)


def _all_small(base_paths: Iterable[Path]) -> bool:
    """Whether the newest version of each model is small and without convolutions; False if there is none."""
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
