"""What runs in the sandbox, sent there as files: the standard library is all that these modules may import.

``calls`` and ``script`` run beside a candidate's code, which can change anything in its process, so what they write is
the candidate's word. ``judge`` reads that word in a process of its own, where no candidate's code has ever been.
"""
