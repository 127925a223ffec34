"""The market operator's web sites, played offline: the same folders, files, bytes and faults, for any time.

``market`` is the truth (pure functions of a seed), ``aemo`` and ``monthly`` are the bytes, ``site`` says
what is published when, ``faults`` what goes wrong, ``app`` serves it over HTTP, ``mirror`` writes it to
disk. Nothing here knows the code that reads these files.

Figures are invented. They resemble the market closely enough for a demo and never closely enough for a
decision.
"""
