"""What `i2i evaluate` does: from what was typed to sets of pictures, their figures, and where those go."""
