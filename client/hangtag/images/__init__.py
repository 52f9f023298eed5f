"""How images come in, before they meet a model: from arrays, files and PIL images to pixels or encoded files."""
