"""`hangtag playground`: a local web page on top of a running model server.

`server` holds the routes and their checks, `model_server` the SDK's clients by protocol, model and version, `images`
turns uploads into pixels, `samples` are the test images, `metrics` reads counters; `static` is the page.
"""
