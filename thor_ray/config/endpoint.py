"""The part of a recipe that names a model server."""

from urllib.parse import urlsplit

from pydantic import Field, field_validator

from thor_ray.config.section import Section


class EndpointConfig(Section):
    """An OpenAI-compatible server. Its key, if it wants one, is the environment variable THOR_API_KEY."""

    url: str = Field(description="Address, as OpenAI clients are given it: `http://127.0.0.1:8000/v1`.")
    model: str = Field(min_length=1, description="Name of the model on the server.")
    concurrency: int = Field(32, ge=1, description="Requests in flight.")
    timeout_seconds: float = Field(300.0, gt=0, description="Of each try of a request, until its answer is complete.")
    tries: int = Field(6, ge=1, description="How often a request is sent at the most.")
    first_wait_seconds: float = Field(
        1.0, gt=0, description="Before the second try; doubled before each further one, and varied at random by half."
    )
    longest_wait_seconds: float = Field(
        300.0, gt=0, description="Before any try. A server that asks for a longer one (Retry-After) is not tried again."
    )
    give_up_after: int = Field(
        4, ge=1, description="Requests in a row that failed at every try, after which the run stops; it can be resumed."
    )

    @field_validator("url")
    @classmethod
    def _is_an_address(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise ValueError(f"{url!r} is no address; one begins with http:// or https://")
        return url
