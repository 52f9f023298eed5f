"""Publishes SavedModels as versions: gates, atomic renames, version labels, and the removal of old versions."""
