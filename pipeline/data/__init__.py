"""Taxonomies, datasets, decoding and checking, the cache, augmentation, samplers, built-in streets."""
