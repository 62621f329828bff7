"""How good translations are: measures and what they are compared with."""
