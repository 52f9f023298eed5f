"""The command line, `hangtag`: one console script for the commands of all three packages."""
