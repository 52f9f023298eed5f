"""A version: its SavedModel with the signatures, warmup records and model card, written, verified and run."""
