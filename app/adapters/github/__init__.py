"""GitHub, read and written through PyGithub's requester: every write at most once.

``access`` opens the API with a key, ``client`` is the one seam every call passes, ``reading``,
``posting``, ``conversation`` and ``repair`` are what the rest of Postil asks of it.
"""
