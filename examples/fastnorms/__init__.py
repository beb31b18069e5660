"""Normalizations, three ways."""
