"""Ray actors that make trajectories: the engine, what drives it, the fleet, and where it all runs."""
