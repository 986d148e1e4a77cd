"""Growth of time and memory with resolution, batch size and number of blends; time to start a server."""
