"""Loss functions over pictures and discriminator outputs."""
