"""Generators and encoders on a CPU, with convolutions by Winograd's minimal filtering, in float32 or in fixed point."""
