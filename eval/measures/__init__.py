"""Estimators with intervals, and the measures of a sample's thinking."""
