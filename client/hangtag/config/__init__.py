"""What a caller may set: `options` of both clients, their `target` with TLS, and `class_names`. Checked once."""
