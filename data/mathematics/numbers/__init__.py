"""Exact values of numbers, in digits and in words."""
