"""The herds of a folder's herd.json as a picture, its herd.svg, in the peers' environment: plot.py FOLDER."""

import json
import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot as plt

RESULTS = Path(sys.argv[1])


def main() -> None:
    herds = json.loads((RESULTS / "herd.json").read_text())["herds"]
    figure, axes = plt.subplots(figsize=(9, 5.5))
    for who in dict.fromkeys(herd["who"] for herd in herds):
        points = sorted(
            (herd["n"], herd["seconds"]) for herd in herds if herd["who"] == who and herd["seconds"]
        )
        if points:
            axes.plot(
                *zip(*points, strict=True),
                marker="o",
                label=who,
                linewidth=2 if who.startswith("taskd") else 1,
            )
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="schedules due at the same minute",
        ylabel="seconds until all messages stand in the broker",
    )
    axes.grid(visible=True, which="both", alpha=0.3)
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(RESULTS / "herd.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
