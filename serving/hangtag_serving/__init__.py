"""The embedded server: TensorFlow Serving's two protocols, from pip."""
