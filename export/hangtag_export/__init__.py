"""From labelled images to a SavedModel version that TensorFlow Serving serves.

    data -> architectures -> training -> evaluation -> savedmodel -> verification -> publishing

Each step is a module; `pipeline` is their order, `commands` the command line.
"""
