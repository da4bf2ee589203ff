"""Caches as domains of images and labels: shards, augmentation, style, the order of samples, batches."""
