"""Tensors: their types, from the bytes of a request to arrays within limits, and from arrays to bytes."""
