"""A version: writes, verifies and runs its SavedModel with signatures, warmup records and model card."""
