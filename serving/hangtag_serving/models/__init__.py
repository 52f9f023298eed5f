"""The models on disk and in memory: which versions to serve, loading, warmup, unloading."""
