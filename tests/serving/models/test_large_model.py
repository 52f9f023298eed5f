"""A model of 128 MB: no copy of its weights is made, and the first call costs what later ones cost."""

from __future__ import annotations

from pathlib import Path

from prestarted import run_python

WEIGHT_BYTES = 4 * 4096 * 2048 * 4

MAKE = """
import sys
import tensorflow as tf

class Large(tf.Module):
    def __init__(self):
        super().__init__()
        self.weights = [tf.Variable(tf.fill([4096, 2048], float(i))) for i in range(4)]

    @tf.function(input_signature=[tf.TensorSpec([None, 4096], tf.float32, name="x")])
    def first(self, x):
        return {"y": tf.add_n([tf.reduce_sum(x @ w, axis=1) for w in self.weights])}

    @tf.function(input_signature=[tf.TensorSpec([None, 4096], tf.float32, name="x")])
    def second(self, x):
        return {"z": tf.add_n([tf.reduce_max(x @ w, axis=1) for w in self.weights])}

model = Large()
tf.saved_model.save(model, sys.argv[1], signatures={"serving_default": model.first, "second": model.second})
"""

SERVE = """
import resource, sys
from pathlib import Path
import numpy as np
from hangtag_serving.models.saved_model import load
from hangtag_serving.models.servable import Servable
import tensorflow as tf

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

tf.constant(0)
before = peak()
if sys.argv[2] == "plain":
    session = tf.compat.v1.Session(graph=tf.Graph())
    with session.graph.as_default():
        graph = tf.compat.v1.saved_model.loader.load(session, ["serve"], sys.argv[1])
    signature = graph.signature_def["serving_default"]
    session.run(signature.outputs["y"].name, {signature.inputs["x"].name: np.ones((1, 4096), "f4")})
else:
    servable = Servable("large", 1, Path(sys.argv[1]))
    prepared = {name: len(calls) for name, calls in servable._calls.items()}
    assert prepared == {"serving_default": 1, "second": 1}, prepared
    assert not servable._model.frozen
    assert servable.keeps_no_state("second")
    for signature, output in (("", "y"), ("second", "z")):
        servable.run(signature, {"x": np.ones((1, 4096), "f4")}, [output])
print(peak() - before)
"""


def grown(folder: Path, how: str) -> int:
    return int(run_python(SERVE, folder, how).split()[-1])


def test_no_copy_of_large_weights_is_made_and_every_signature_is_prepared(tmp_path):
    """Peak memory is near that of a plain Session; a constant-folded copy would add the weights."""
    folder = tmp_path / "1"
    run_python(MAKE, folder)
    plain, ours = grown(folder, "plain"), grown(folder, "servable")
    assert ours < plain + WEIGHT_BYTES / 2, (plain >> 20, ours >> 20)
