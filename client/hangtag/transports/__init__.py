"""Send requests over gRPC and HTTP, with threads and with asyncio."""
