"""Where rows live: the only package that knows how they are stored.

``tables`` declares what is kept; ``connection`` opens the lake; ``upsert`` brings rows in; ``publish`` hands
them to analysts; ``maintenance`` keeps the files few; ``resource`` is the same for Dagster.
"""
