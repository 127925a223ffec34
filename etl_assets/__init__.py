"""Australian electricity-market intervals in DuckDB, pulled, checked, healed and published by Dagster.

Terms used throughout are the market's own: *RRP* (regional reference price, AUD/MWh), *DUID* (dispatchable
unit identifier), *SCADA* (a unit's metered output), *settlement date* (the end of a dispatch interval, in NEM
time), *MMS* (the market management system whose CSV reports AEMO publishes).
"""
