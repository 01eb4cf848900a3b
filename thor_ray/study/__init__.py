"""The paper's ablation in small: which runs it takes, what is read off them, and how the seeds are put together.

``design`` says what is run, ``results`` reads finished runs, ``seeds`` does the statistics, ``tables`` and ``report``
show them. What runs them is ``stages.study``.
"""
