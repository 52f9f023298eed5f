"""What one client, and all clients together, may use of the HTTP server. Times in seconds, sizes in bytes."""

from __future__ import annotations

MAX_CONNECTIONS = 2000  # beyond it the connection that has been idle longest is closed for a new one
HEAD_SECONDS = 20.0  # for the head of a request to arrive
BODY_SECONDS = 20.0  # for its body, and a second more for each of these:
BODY_BYTES_A_SECOND = 4096
IDLE_SECONDS = 5.0  # between requests
WRITE_SECONDS = 60.0  # for a client to read some of its response
LINGER_SECONDS = 2.0  # after the last response, to read what the client still sends
QUIET_SECONDS = 0.5  # between requests, once the server is stopping

MAX_HEAD_BYTES = 64 << 10
HEADER_OVERHEAD = 32  # counted for each header besides its text, as HTTP/2 does
PIECE_OVERHEAD = 64  # counted for each piece of a body besides its bytes
REQUEST_OVERHEAD = 4096  # counted for each request that is being answered
HELD_BODIES = 2  # of the largest size, by all clients together

# Pipelined on one connection, before its socket is left unread:
WAITING_REQUESTS = 64
WAITING_BYTES = 4 << 20  # of bodies, while a request before them is being answered
REQUESTS_AT_A_TIME = 8  # before other connections have their turn
