"""--enable_batching: requests that wait for each other and run as one batch."""
