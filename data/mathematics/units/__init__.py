"""Units: which are known, what they are worth, and how quantities are compared."""
