"""The HTTP/1.1 server for REST requests, on an event loop."""
