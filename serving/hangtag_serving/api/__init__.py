"""What each request means: TensorFlow Serving's gRPC methods and REST resources."""
