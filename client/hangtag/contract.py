"""Names and values that the client, the export and the server share.

`hangtag_export` writes these signatures into every version; the client reads them through the model's metadata:

    signature          inputs                                         outputs
    serving_default    images uint8 [N, H, W] or [N, H, W, 3], 0..255 probabilities float32 [N, C]
    normalized_images  images float32, the same shape, 0..1           probabilities
    encoded_images     images string [N], bytes of image files        probabilities
    top_classes        images uint8                                   classes string [N, k], scores float32 [N, k]
    labels             index int64 [K]                                class_name string [K]
    classify           inputs string [N], tf.Example                  classes, scores

A multi-label model, whose classes do not exclude each other, names its output `independent_probabilities` instead of
`probabilities`. This tells a client that the rows need not sum to 1.
"""

from __future__ import annotations

SERVING_DEFAULT = "serving_default"
NORMALIZED_IMAGES = "normalized_images"
ENCODED_IMAGES = "encoded_images"
TOP_CLASSES = "top_classes"
LABELS = "labels"
CLASSIFY = "classify"

SIGNATURES = (SERVING_DEFAULT, NORMALIZED_IMAGES, ENCODED_IMAGES, TOP_CLASSES, LABELS, CLASSIFY)
"""The six signatures of a version that Hangtag wrote."""

ORIGINAL = "original"
"""The original signature of a trained model that was published, in addition to the six."""

IMAGES = "images"
"""The input of the four signatures that take images."""

PROBABILITIES = "probabilities"
INDEPENDENT_PROBABILITIES = "independent_probabilities"
LOGITS = "logits"

CARD = "assets.extra/hangtag.json"
"""The model card, relative to a version's folder; a path with `/` on every system."""

WARMUP = "assets.extra/tf_serving_warmup_requests"
"""The warmup records, relative to a version's folder: a TFRecord file of PredictionLog messages."""

GRAPH_IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif")
"""Endings of the files that `encoded_images` decodes in the graph."""

IMAGE_SUFFIXES = (*GRAPH_IMAGE_SUFFIXES, ".webp", ".gif", ".bmp", ".tif", ".tiff")
"""Endings of the files that the client takes; it converts the others to PNG."""

RANGES = ("0..1", "0..255", "-1..1", "imagenet", "caffe")
"""Pixel values that a model may take. `imagenet` is RGB 0..1 minus ImageNet's mean, divided by its standard deviation
(PyTorch's models); `caffe` is BGR 0..255 minus ImageNet's mean (ResNet50 and VGG of keras.applications).
"""

IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""For RGB pixels 0..1."""

CAFFE_MEAN = (103.939, 116.779, 123.68)
"""For BGR pixels 0..255."""

SCORES = ("probabilities", "logits", "sigmoid")
"""What the scores of a model may be: the output of a softmax, of a layer without activation, or of sigmoids."""


def version_number(name: str) -> int | None:
    """The version that TensorFlow Serving reads from the name of a folder; None if it ignores the folder.

    It parses names with absl::SimpleAtoi: leading zeros, a sign and surrounding blanks are allowed.

    >>> [version_number(name) for name in ("7", "007", " 7", "+7", "-7", "7.tmp", ".7", "٧")]
    [7, 7, 7, 7, -7, None, None, None]
    """
    digits = name.strip(" \t\n\v\f\r")
    unsigned = digits[1:] if digits[:1] in ("-", "+") else digits
    if not (unsigned.isascii() and unsigned.isdecimal() and len(unsigned) < 1000):
        return None
    number = int(digits)
    return number if -(2**63) <= number < 2**63 else None
