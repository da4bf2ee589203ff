"""Backbones, heads, discriminators and weight files."""
