"""Bytes over a connection: gRPC and HTTP, with threads and with asyncio."""
