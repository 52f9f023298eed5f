"""`hangtag doctor`: says what would go wrong, before it does.

One module for each thing that can be examined; each yields findings and raises nothing of its own. The traps are
those that TensorFlow Serving's users report again and again: a base path without a version, a label without its flag,
an unknown flag that is silently ignored, a status that says AVAILABLE for a model that cannot answer.
"""
