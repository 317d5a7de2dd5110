"""A short form of the soak, `make soak`, which takes ten minutes."""

import pytest
from soak import soak


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.filterwarnings('ignore:Infinite. an epoch')  # which is cut anywhere
def test_random_pipelines_lose_nothing_and_leave_nothing() -> None:
    print(soak(seconds=20, seed=0))
