"""A page over a run directory, live, after a crash and years later: ``thor dashboard RUN``.

It only reads. ``catalogue`` finds runs, ``index`` keeps the small columns of all trajectories in memory, ``query``
filters, sorts and pages them, ``details`` opens one trajectory, ``families`` its siblings and branches, ``series`` and
``timing`` plot. ``app`` serves these as JSON beside the packaged page in ``static/``, ``access`` says to whom.
"""

from thor_ray.dashboard.server import DashboardOptions, serve, served

__all__ = ["DashboardOptions", "serve", "served"]
