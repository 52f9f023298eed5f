"""Decodes the tensors of requests within limits, encodes those of responses, and knows TensorFlow's types."""
