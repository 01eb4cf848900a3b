"""How figures are written."""

import pytest

from thor_ray.evaluation.sections import p_text


@pytest.mark.parametrize(
    ("p_value", "text"),
    [(1.0, "1.000"), (0.0261, "0.026"), (0.000514, "0.00051"), (2e-23, "2e-23"), (1e-250, "<1e-99"), (0.0, "<1e-99")],
)
def test_no_p_value_is_written_as_nought(p_value, text):
    assert p_text(p_value) == text
