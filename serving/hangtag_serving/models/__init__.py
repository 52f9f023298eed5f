"""The models on disk and in memory: which versions are served, and how they are loaded, run and unloaded."""
