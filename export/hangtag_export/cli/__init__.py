"""The commands `hangtag export` and `hangtag versions`."""
