"""The tables of σ are made from the file, and the file holds what is measured."""

import json

import pytest
import report
import sigma

if not sigma.FILE.exists():  # an sdist leaves results out
    pytest.skip("no results here", allow_module_level=True)
CONTENT = json.loads(sigma.FILE.read_text(encoding="utf-8"))


def test_pages_are_what_the_script_makes():
    guideline = sigma.GUIDELINE.read_text(encoding="utf-8")
    assert report.insert(guideline, sigma.excerpt(CONTENT), "sigma") == guideline
    assert sigma.PAGE.read_text(encoding="utf-8") == sigma.page(CONTENT)


def test_file_is_complete():
    assert CONTENT["sigma"] == sigma.SIGMAS
    assert [*CONTENT["share"]] == [*sigma.GUIDES]
    for metrics in CONTENT["share"].values():
        assert [*metrics] == [*sigma.METRICS]
        for curves in metrics.values():
            assert [*curves] == [*sigma.PHOTOGRAPHS]
            assert all(curve == sorted(curve) for curve in curves.values())
            assert {len(curve) for curve in curves.values()} == {len(sigma.SIGMAS)}


@pytest.mark.parametrize(("kind", "metric"), [("RGB", "sqeuclidean"), ("Lab", "euclidean")])
def test_file_is_what_is_measured(kind, metric):
    indices = [12, 16, 24]
    image = sigma.guide("chelsea", kind)
    shares = sigma.median_shares(image, metric, [sigma.SIGMAS[i] for i in indices])
    recorded = CONTENT["share"][kind][metric]["chelsea"]
    assert shares == pytest.approx([recorded[i] for i in indices], rel=1e-3)


def test_sigma_between_two_points():
    assert sigma.sigma_for([1, 100], [0.01, 1.0], 0.1) == pytest.approx(10)
    with pytest.raises(ValueError, match="share must be in"):
        sigma.sigma_for([1, 100], [0.01, 1.0], 0.001)
