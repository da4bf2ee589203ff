"""One module per stage kind: read parents, compute, publish. Alone knows what an artifact contains."""
