"""Two gRPC servers behind one interface: grpcio's and a compiled one for loopback."""
