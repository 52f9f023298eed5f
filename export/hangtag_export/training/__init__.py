"""Trains a Keras model on labelled images, and evaluates it."""
