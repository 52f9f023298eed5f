"""Everything that exists only for speed, behind --fast. The server answers every request without this package.

Predict requests that look like earlier ones are read without being parsed (`request_templates`, `json_arrays`,
`json_workers`), and calls that arrive together share a run (`coalescing`, `batch_target`).
`grpc_predict` and `rest_predict` put these together, one for each transport. `tensorflow_tuning` chooses how TensorFlow
computes.
"""
