"""More than one machine: an edge (Envoy) that lets strangers reach servers, and spreads requests over them."""
