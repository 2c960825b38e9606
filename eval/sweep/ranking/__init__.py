"""The result of a sweep: trials ranked with intervals."""
