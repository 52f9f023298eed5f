"""Labelled images: Fashion-MNIST, or a folder of photos."""

DATASET = "fashion-mnist"
"""The name of the data set that Hangtag uses by default."""
