"""Pictures on their way into training: folders, decoding, cache, streams and the loader."""
