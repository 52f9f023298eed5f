"""The examples in these modules talk to a server: `tests/client/test_examples.py` starts one and runs them."""

collect_ignore = ["hangtag/__init__.py", "hangtag/client.py", "hangtag/aio.py", "hangtag/errors.py"]
