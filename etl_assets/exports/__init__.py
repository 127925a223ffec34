"""Results that are made for somebody: routed by size, cached, or made by a job."""
