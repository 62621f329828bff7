"""What a run folder tells people: one self-contained page a run, several runs side by side, and a model card."""
