"""The market operator's data: readers, feeds, the source ladder, and their Dagster assets.

``members`` and ``mms`` read files, ``nemweb`` and ``dashboard`` fetch them, ``feeds`` declares what is collected,
``ladder`` says which file supplies what is missing, ``collect`` brings it in.
"""
