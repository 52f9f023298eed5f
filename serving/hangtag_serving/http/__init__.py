"""How REST requests come in and go out: an HTTP/1.1 server on an event loop."""
