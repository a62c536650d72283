import pytest

from trainer.plots import charts


@pytest.mark.parametrize("epochs", [1, 3])
@pytest.mark.usefixtures("pictures")
def test_a_curve_names_its_image_sizes_without_a_warning_of_matplotlib(epochs: int) -> None:
    log = [{"epoch": epoch + 1, "loss": 0.5, "size_px": 64} for epoch in range(epochs)]
    svg = charts.curve(log, "loss", title="training loss")
    assert " 64 px" in svg
    assert "training loss" in svg
