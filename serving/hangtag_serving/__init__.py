"""The embedded server: TensorFlow Serving's gRPC and REST protocols, installed with pip."""
