"""Everything that exists only for speed, switched by --fast. The server can answer every request without this package.

Predict requests that resemble earlier ones are read without parsing them completely (`request_templates`,
`json_arrays`, `json_workers`), and calls that arrive together run together (`coalescing`, `batch_target`).
`grpc_predict` and `rest_predict` combine these for the two transports. `tensorflow_tuning` sets TensorFlow's threads
and kernels.
"""
