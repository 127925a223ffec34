"""``make bench``: how fast the heart of the project is, as ratios against references run in the same process."""
