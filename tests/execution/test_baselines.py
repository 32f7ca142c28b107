"""Front-loaded schedules by hand."""

from __future__ import annotations

import numpy as np
import pytest

from research_lib.errors import ValidationError
from research_lib.execution import front_loaded


def test_front_loaded_by_hand() -> None:
    assert front_loaded(60, 3).shares == pytest.approx([30, 20, 10])
    assert front_loaded(70, 3, half_life=1).shares == pytest.approx([40, 20, 10])
    assert front_loaded(60, 3, half_life=np.inf).shares == pytest.approx([20, 20, 20])
    with pytest.raises(ValidationError, match="half_life must be above 0, got 0"):
        front_loaded(60, 3, half_life=0)
