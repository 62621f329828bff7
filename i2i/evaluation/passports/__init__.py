"""Figures with all that decides whether they may be compared, and how they are shown and compared."""
