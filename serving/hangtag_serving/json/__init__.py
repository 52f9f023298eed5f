"""TensorFlow Serving's JSON: request bodies to arrays, arrays to response bodies, and the C++ server's error texts."""
