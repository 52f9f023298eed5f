"""A trained model from a file, a SavedModel folder or Python becomes a version with the six signatures."""
