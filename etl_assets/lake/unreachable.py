"""What is raised where the lake cannot be reached. Apart from ``connection``, since its base needs DuckDB loaded."""

import duckdb


class LakeUnreachableError(duckdb.OperationalError):
    """DuckDB failed on the lake and quoted its address: the same without the address, and what to look at."""
