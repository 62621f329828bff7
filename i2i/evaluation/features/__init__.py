"""What networks see in pictures: one interface for all that turn pictures into feature vectors.

``open_extractor("inception")`` in `opening` gives the networks that are known by name; `callable` makes one of any
function; `blocks` runs one over many pictures; `store` keeps what it saw.
"""
