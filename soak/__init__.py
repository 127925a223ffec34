"""The simulated week: every schedule and sensor for seven days, through every fault of the sources and many kills.

``python -m soak --seed 1`` (``make soak``) works in a folder of its own and ends with a report and a verdict.

- ``plan``: what happens when, drawn from a seed; ``spells`` are the faults. ``clock`` is the time that all share.
- ``sources``: the simulated sources at that time, with their faults and outages.
- ``schedules`` asks for runs as Dagster's daemon would; ``queue`` hands them to ``worker`` processes, kills some, and
  does what run monitoring and run retries do. ``week`` is the loop over it all.
- ``ageing`` gives to what libraries stamp with the wall clock the simulated time, so that retention has work to do.
- ``companions`` run beside it: ``analyst`` and ``clients``, and the API under the same clock (``api_process``).
- ``truth`` says what the tables must hold; ``checks`` and its ``*_checks`` compare a data folder, this one or a
  restored one, with it; ``growth`` measures what must not grow; ``verdict`` is of all, and ``report`` prints and writes
  it.
- ``recovery`` is the drill: a backup of the middle, restored and caught up.
"""
