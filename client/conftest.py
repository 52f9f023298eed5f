"""The examples in these modules talk to a server: `tests/client/test_examples.py` starts one and runs them."""

collect_ignore = [
    f"hangtag/{name}.py"
    for name in ("__init__", "client", "async_client", "errors", "cli/compare", "plots/predictions")
]
