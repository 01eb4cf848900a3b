"""Sessions: one process that runs many programs in one namespace. `session` is what users see."""
