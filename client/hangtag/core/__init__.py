"""What the client decides, without I/O: from what callers pass in to requests, and from responses to class names."""
