"""StyleGAN2's generator on a CPU by Winograd's minimal filtering: a quarter of the products, in float32."""
