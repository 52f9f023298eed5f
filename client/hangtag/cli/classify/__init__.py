"""`hangtag classify`: the `command`, its `output` and how a run is `resume`d, and which files are `bad_images`."""
