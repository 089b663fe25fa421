"""The composition root: the only place where ports meet adapters.

``reviews`` wires what the command line reviews, ``server`` what ``postil serve`` runs, ``doctor``
looks at both; ``parts`` holds what they share. Each imports what it needs and no more, so that a
command starts quickly.
"""
