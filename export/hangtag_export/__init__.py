"""From labelled images to a SavedModel version that TensorFlow Serving serves.

    data -> architectures -> training -> evaluation -> savedmodel -> verification -> publishing

Each step is a module; `pipeline` is their order, `commands` the command line.
"""

DATASET = "fashion-mnist"
"""The name of the data set that Hangtag ships with."""
