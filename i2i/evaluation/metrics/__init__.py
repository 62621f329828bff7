"""The mathematics of the metrics, on arrays: they know neither files nor networks."""
