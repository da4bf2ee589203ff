"""Taxonomies, dataset files, listing, decoding and checking, and preparation into a cache."""
