"""Step 6: training with the tree energy loss and with partial cross entropy, by the command `tel`.

    python -m gpu.check.train SCRATCH FILE [--dry]

Two networks learn generated scenes at the same time. Then `tel cost` measures time and memory of an
iteration of each method, interleaved, as ratios to partial cross entropy (the paper's Tables 4 and
5). FILE (JSON) is written again after each part. Of the package, only its command line is used.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

TEL = [sys.executable, "-m", "tel_segmentation.cli"]
METHODS = ("partial", "tel")


def _train(method: str, scratch: Path, dry: bool) -> subprocess.Popen[bytes]:
    options = ["--loss.method", method, "--output", str(scratch / method), "--threads", "1"]
    options += ["--device", "cpu", "--iterations", "4"] if dry else ["--device", "cuda"]
    preset = "smoke" if dry else "scenes"
    return subprocess.Popen([*TEL, "train", preset, *options])


def _learnt(folder: Path) -> dict[str, Any]:
    record = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    kept = ("device", "iterations", "seconds_per_iteration", "peak_memory_mb", "versions")
    return {
        **{name: record[name] for name in kept},
        "miou": record["evaluation"]["last"]["miou"],
    }


def _cost(scratch: Path, dry: bool) -> dict[str, Any]:
    path = scratch / "cost.json"
    options = ["smoke", "--rounds", "2", "--device", "cpu"] if dry else ["scenes-gpu"]
    options += [] if dry else ["--rounds", "10", "--device", "cuda", "--amp", "bf16"]
    subprocess.run([*TEL, "cost", *options, "--output", str(path)], check=True)
    return json.loads(path.read_text(encoding="utf-8"))


def main(scratch: Path, output: Path, dry: bool) -> int:
    found: dict[str, Any] = {"dry": dry, "training": {}}

    def write() -> None:
        output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")

    running = {method: _train(method, scratch, dry) for method in METHODS}
    failed = [method for method, process in running.items() if process.wait() != 0]
    for method in METHODS:
        if method not in failed:
            found["training"][method] = _learnt(scratch / method)
    write()
    found["cost"] = _cost(scratch, dry)
    write()
    if failed:
        print(f"training failed: {', '.join(failed)}")
        return 1
    print(f"RESULT train: {words(found)}")
    return 0


def words(found: dict[str, Any]) -> str:
    learnt = (f"{name} {found['training'][name]['miou']:.1%} mIoU" for name in METHODS)
    ratios = (
        f"{row['method']} {row['time_ratio']:.2f}× time"
        + (f" and {row['memory_ratio']:.2f}× memory" if row["memory_ratio"] else "")
        for row in found["cost"]["rows"][1:]
    )
    return "; ".join([", ".join(learnt), "of an iteration of partial CE: " + ", ".join(ratios)])


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), "--dry" in sys.argv))
