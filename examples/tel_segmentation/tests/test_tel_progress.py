"""The progress of long work where there is no terminal."""

from tel_segmentation.runtime import progress


def test_lines_tell_what_is_done_and_the_time_left(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with progress.shown_progress(100, "evaluate", "images") as bar:
        for _ in range(100):
            now[0] += 1
            bar.update()
    assert capsys.readouterr().err.splitlines() == [
        "evaluate: 30 of 100 images, 01:10 left",
        "evaluate: 60 of 100 images, 00:40 left",
        "evaluate: 90 of 100 images, 00:10 left",
    ]
    with progress.shown_progress(100, "evaluate", "images", shown=False) as bar:
        now[0] += 100
        bar.update(100)
    assert capsys.readouterr().err == ""
