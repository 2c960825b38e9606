"""What a sweep found: trials ranked with intervals."""
