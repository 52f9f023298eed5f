"""Muon: updates for the kernels of convolutions, with which the cnn needs far fewer epochs than with AdamW.

Each update is the momentum of the gradients made orthogonal, so that all of its directions count equally. From Jordan
et al., "Muon: An optimizer for hidden layers in neural networks" (2024), with the scale of Liu et al., "Muon is
scalable for LLM training" (arXiv:2502.16982), so that AdamW's learning rate and weight decay suit both. Keras has a
Muon, but only for matrices.
"""

from __future__ import annotations

import types
from typing import Any

from hangtag.optional import require

MOMENTUM = 0.95
"""The first beta of the AdamW that `use_muon` takes."""

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the Newton-Schulz iteration, by Jordan et al.
_ITERATIONS = 5
_SCALE = 0.2  # about the root mean square of AdamW's updates


def use_muon(optimizer: Any) -> None:
    """Let a Keras AdamW update kernels of convolutions by Muon, and everything else as before.

    It stays an AdamW with the same state, of which the first moments are the momentum. So the optimizer of a saved
    model is one that Keras knows. Another optimizer, of a model that is trained further, stays as it is.
    """
    keras = require("keras", extra="export", what="training")
    inner = getattr(optimizer, "inner_optimizer", optimizer)  # Keras wraps the optimizer of mixed precision
    if isinstance(inner, keras.optimizers.AdamW):
        inner.update_step = types.MethodType(_update_step, inner)


def _update_step(optimizer: Any, gradient: Any, variable: Any, learning_rate: Any) -> None:
    if len(variable.shape) != 4:
        type(optimizer).update_step(optimizer, gradient, variable, learning_rate)
        return
    beta, state = optimizer.beta_1, optimizer._momentums[optimizer._get_variable_index(variable)]
    momentum = beta * state + (1 - beta) * gradient
    optimizer.assign(state, momentum)
    ahead = beta * momentum + (1 - beta) * gradient  # Nesterov's
    optimizer.assign_sub(variable, learning_rate * _orthogonal(ahead))


def _orthogonal(kernel: Any) -> Any:
    """About the nearest kernel, as a matrix [H * W * C, filters], whose singular values are equal; scaled."""
    tf = require("tensorflow", extra="export", what="training")
    rows, columns = kernel.shape[0] * kernel.shape[1] * kernel.shape[2], kernel.shape[3]
    matrix = tf.reshape(kernel, (rows, columns))
    if rows > columns:
        matrix = tf.transpose(matrix)
    matrix /= tf.norm(matrix) + 1e-7
    a, b, c = _COEFFICIENTS
    for _ in range(_ITERATIONS):
        gram = tf.matmul(matrix, matrix, transpose_b=True)
        matrix = a * matrix + tf.matmul(b * gram + c * tf.matmul(gram, gram), matrix)
    if rows > columns:
        matrix = tf.transpose(matrix)
    return tf.reshape(matrix, kernel.shape) * (_SCALE * max(rows, columns) ** 0.5)
