"""``python -m thor_ray.cli`` is ``thor``, for places where the script is not on the path."""

from thor_ray.cli.app import main

if __name__ == "__main__":
    main()
