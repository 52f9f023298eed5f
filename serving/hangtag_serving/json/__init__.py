"""TensorFlow Serving's JSON: decodes requests, encodes responses, with the C++ server's error texts."""
