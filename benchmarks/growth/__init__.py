"""Growth of time and memory with resolution, batch and blends, and starts of a server."""
