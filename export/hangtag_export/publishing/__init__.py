"""From a trained model to a version that TensorFlow Serving serves: write, verify, publish, label, prune."""
