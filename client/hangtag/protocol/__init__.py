"""Bytes to arrays and back: TensorFlow Serving's messages over gRPC and REST. The embedded server uses it too."""
