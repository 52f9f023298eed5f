"""TensorFlow Serving's gRPC methods and REST resources, independent of the transports."""
