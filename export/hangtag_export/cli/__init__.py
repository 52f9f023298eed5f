"""The commands that train and publish: export, publish, evaluate, versions and data."""
