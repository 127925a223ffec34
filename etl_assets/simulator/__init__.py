"""The market operator's web sites and an ACE account, played offline: the same bytes and faults, for any time.

``market`` is the truth (pure functions of a seed), ``aemo`` and ``monthly`` are the bytes, ``site`` says
what is published when, ``faults`` what goes wrong, ``app`` serves it over HTTP, ``mirror`` writes it to
disk. The ACE account is apart from it: ``ace_world`` is its truth, ``ace_pages`` and ``ace_wire`` are its bytes,
``ace_damage`` what goes wrong, ``ace`` answers. Nothing here knows the code that reads these files.

Figures are invented. They resemble the market closely enough for a demo and never closely enough for a
decision.
"""
