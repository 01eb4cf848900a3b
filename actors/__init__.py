"""Ray actors that make trajectories: engine, rollout, refiner, stream and placement."""
