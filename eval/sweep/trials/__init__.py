"""Trials of a sweep: chosen, started, watched and recorded."""
