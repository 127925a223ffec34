"""The page for people at ``/``: its files, the figures that it draws, and who may see them.

The figures are columns of numbers and nulls; instants are epoch seconds, days are market days (NEM time, UTC+10). How
they are asked for is in ``routes/dashboard.py``; the page itself is in ``static/``.
"""
