"""The engine on OpenVINO."""
