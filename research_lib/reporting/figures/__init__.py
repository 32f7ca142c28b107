"""Figures: functions that take `ax=None`, draw, label with units and return their Axes."""
