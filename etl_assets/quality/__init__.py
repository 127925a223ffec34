"""Quality: gaps and when they were healed, and the pictures that checks show."""
