"""The server as a process: its options, how it loads versions, which servers listen, how it starts and stops."""
