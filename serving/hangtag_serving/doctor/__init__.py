"""`hangtag doctor`: reports what would go wrong, before it does.

One module for each place it looks: base_path and savedmodel (models on disk), config_file, compose and kubernetes
(deployment files; container holds what both are checked for), running_server. Each yields findings and raises nothing.
"""
