"""The engine on OpenVINO, for a CPU."""
