"""Backups: a consistent copy of lake, archive, state and Dagster's storage, taken while everything runs.

``take`` makes one and ``restore`` puts one in place; ``manifest`` is what a backup says of itself. A backup is a plain
folder laid out as the data folder is; whoever wants it elsewhere copies the folder.

``warehouse.duckdb`` is not in it, because its views name files by where they were: a restore publishes anew. Neither
are cached answers, Dagster's logs of what runs printed, and ``.env``, which is the deployment's.
"""
