"""TensorFlow Serving's messages over gRPC and REST, encoded and decoded. The embedded server uses this package too."""
