"""Stand-ins for the services Postil talks to, each with state and served over real HTTP."""
