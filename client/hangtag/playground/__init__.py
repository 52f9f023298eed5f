"""`hangtag playground`: a local web page on top of a running model server.

`server` has the routes and their checks, `model_server` the SDK's clients for each protocol, model and version.
`images` converts uploads to pixels, `samples` has the test images, `metrics` reads counters, and `static` is the page.
"""
