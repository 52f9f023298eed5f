"""From labelled images to a trained and evaluated Keras model."""
