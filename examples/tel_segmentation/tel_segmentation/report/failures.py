"""Where a network fails: its worst images, and which classes it takes for which."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tel_segmentation.report.format import percent
from tel_segmentation.report.html import swatch, text
from tel_segmentation.report.pictures import worst
from tel_segmentation.report.table import Experiment, Row
from tel_segmentation.report.tiles import class_legend, strip

_MOST = 20  # classes in the confusion matrix; of more, those with the most wrong pixels


def failures(group: Experiment, most: int) -> str:
    """Of one method: at most ``most`` of its worst images, and its confusion matrix; as HTML.

    The method is that of the headline, or the last in the table. Its seed with the lowest number
    has the pictures; the matrix is the sum over all seeds.
    """
    own = [row for row in group.rows if not row.borrowed]
    row = group.headline or own[-1]
    run = row.runs[0]
    images = worst(run, most)
    split = text(group.split)
    parts = []
    if images:
        strips = "".join(
            f"<h4>{text(name)}: mIoU {percent(miou)}</h4>{strip(tiles, name, {})}"
            for name, miou, tiles in images
        )
        parts.append(
            f"<h3>Images of “{split}” with the lowest mIoU</h3><p class='soft'><small>"
            f"{text(row.method)}, seed {run.seed}; the mIoU is over the classes of the image. Red:"
            f" wrong pixels.</small></p>{class_legend(run)}{strips}"
        )
    if (matrix := _matrix(row)) is not None:
        parts.append(
            f"<h3>Which classes are taken for which, on “{split}”</h3>{_table(matrix, row)}"
        )
    return "".join(parts)


def _matrix(row: Row) -> NDArray[np.float64] | None:
    """Pixels, truth × prediction, summed over the seeds; None where a run has none."""
    matrices = [run.confusion for run in row.runs]
    if any(matrix is None for matrix in matrices):
        return None
    total: NDArray[np.float64] = np.sum(np.array(matrices, float), axis=0)
    return total


def _table(matrix: NDArray[np.float64], row: Row) -> str:
    run = row.runs[0]
    wrong = matrix.sum(0) + matrix.sum(1) - 2 * matrix.diagonal()
    chosen = sorted(np.argsort(-wrong, kind="stable")[:_MOST].tolist())
    parts = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)

    def name(k: int) -> str:
        r, g, b = run.colors[k]
        return f"{swatch(f'rgb({r},{g},{b})')}{text(run.classes[k])}"

    heads = "".join(f'<th scope="col">{name(k)}</th>' for k in chosen)
    lines = []
    for k in chosen:
        cells = "".join(_cell(parts[k, j], j == k, bool(matrix[k].any())) for j in chosen)
        lines.append(f'<tr><th scope="row">{name(k)}</th>{cells}</tr>')
    left = len(run.classes) - len(chosen)
    rest = f" {left} classes with fewer wrong pixels are left out." if left else ""
    return (
        f'<div class="card scroll"><table class="confusion"><thead><tr><th></th>{heads}</tr>'
        f"</thead><tbody>{''.join(lines)}</tbody></table></div><p class='soft'><small>"
        f"{text(row.method)}, in percent of the pixels of a true class (row) that have each"
        f" predicted class (column).{rest}</small></p>"
    )


def _cell(part: float, right: bool, present: bool) -> str:
    if not present:
        return "<td>–</td>"
    kind = "right" if right else "wrong"
    return f'<td class="{kind}" style="--part:{100 * part:.0f}%">{100 * part:.1f}</td>'
