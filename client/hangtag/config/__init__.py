"""What a caller may set: the `options` of both clients, their `target` with TLS, and `class_names`."""
