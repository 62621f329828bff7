"""The engine that trains any pipeline: loop, precision, checkpoints, several processes, tracking."""
