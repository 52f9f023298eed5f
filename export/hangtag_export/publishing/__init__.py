"""From a SavedModel to versions that TensorFlow Serving serves: gates, atomic renames, labels, removal of old ones."""
