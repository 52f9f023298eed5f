"""Limits of the HTTP server, for each client and for all clients together. Times are in seconds, sizes in bytes."""

from __future__ import annotations

MAX_CONNECTIONS = 2000  # a new connection beyond this closes the one that has been idle longest
HEAD_SECONDS = 20.0  # for the head of a request to arrive
BODY_SECONDS = 20.0  # for its body, plus a second for each BODY_BYTES_A_SECOND
BODY_BYTES_A_SECOND = 4096
IDLE_SECONDS = 5.0  # between requests
WRITE_SECONDS = 60.0  # for a client to read a part of its response
LINGER_SECONDS = 2.0  # after the last response, to read what the client still sends
QUIET_SECONDS = 0.5  # between requests, while the server is stopping

MAX_HEAD_BYTES = 64 << 10
HEADER_OVERHEAD = 32  # counted for each header in addition to its text, as in HTTP/2
PIECE_OVERHEAD = 64  # counted for each piece of a body in addition to its bytes
REQUEST_OVERHEAD = 4096  # counted for each request that is being answered
HELD_BODIES = 2  # bodies of the largest size that all clients together may have in memory

# Pipelined requests on one connection:
WAITING_REQUESTS = 64  # beyond this, nothing more is read
WAITING_BYTES = 4 << 20  # of their bodies; beyond this, nothing more is read while a request is being answered
REQUESTS_AT_A_TIME = 8  # then other connections have their turn
