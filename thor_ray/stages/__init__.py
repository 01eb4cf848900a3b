"""The roof: the top loops, each of which reads like its section of the paper."""
