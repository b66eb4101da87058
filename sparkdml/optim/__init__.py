"""Optimization on the driver: losses, penalties, solvers. NumPy and SciPy only; Spark is unknown here."""
