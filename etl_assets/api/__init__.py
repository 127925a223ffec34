"""The API: tokens, intervals and time series at wire speed, large requests as jobs, the state of everything."""
