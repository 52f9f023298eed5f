"""Server-side batching (--enable_batching): requests wait for others and run together."""
