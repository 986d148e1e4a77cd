"""Generator and encoder on a CPU by Winograd's minimal filtering: fewer products, in float32 or in fixed point."""
