"""How gRPC requests come in and go out: two servers behind one interface."""
