"""Operation: records of runs, checkpoints, retention of Dagster's own history."""
