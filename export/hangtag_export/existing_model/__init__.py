"""Publishes a trained model from a file, a SavedModel folder or Python as a version with the six signatures."""
