"""Labelled images: Fashion-MNIST, or a folder of photos."""
